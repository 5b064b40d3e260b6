# Copyright (c) CellVTA-MMSeg contributors.
import torch
from tiny_models import SEGMENTOR, build, square_sample

PREPROCESSOR = SEGMENTOR['data_preprocessor']


def test_training_pads_every_map_with_background():
    batch = dict(
        inputs=[torch.full((3, 60, 50), 255, dtype=torch.uint8)],
        data_samples=[_cropped(square_sample(), 60, 50)])
    data = build(PREPROCESSOR)(batch, training=True)
    sample = data['data_samples'][0]
    assert data['inputs'].shape == (1, 3, 64, 64)
    for name in ('gt_inst_map', 'gt_hv_map', 'gt_sem_seg'):
        field = sample.get(name).data
        assert field.shape[1:] == (64, 64), name
        assert field[:, 60:].abs().sum() == 0 and field[:, :, 50:].abs().sum() == 0


def test_padding_moves_no_pixel():
    sample = _cropped(square_sample(), 60, 50)
    before = sample.gt_hv_map.data.clone()
    batch = dict(inputs=[torch.zeros(3, 60, 50)], data_samples=[sample])
    build(PREPROCESSOR)(batch, training=True)
    torch.testing.assert_close(sample.gt_hv_map.data[:, :60, :50], before)


def test_image_turns_from_bgr_0_255_to_normalised_rgb():
    blue = torch.zeros(3, 16, 16)
    blue[0] = 255
    data = build(PREPROCESSOR)(dict(inputs=[blue], data_samples=[square_sample()]))
    torch.testing.assert_close(data['inputs'][0, :, 0, 0], torch.tensor([-1., -1, 1]))


def _cropped(sample, height, width):
    for name in ('gt_inst_map', 'gt_hv_map', 'gt_sem_seg'):
        field = sample.get(name)
        data = field.data[:, :height, :width].clone()
        del field.data
        field.data = data
    return sample
