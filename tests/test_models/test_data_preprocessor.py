# Copyright (c) CellVTA-MMSeg contributors.
import torch
from tiny_models import SEGMENTOR, build, square_sample

PREPROCESSOR = SEGMENTOR['data_preprocessor']
MAPS = ('gt_inst_map', 'gt_hv_map', 'gt_sem_seg')


def test_training_pads_every_map_with_background_and_moves_no_pixel():
    sample = square_sample()
    before = {}
    for name in MAPS:
        field = sample.get(name)
        before[name] = field.data[:, :60, :50].clone()
        del field.data
        field.data = before[name]
    batch = dict(
        inputs=[torch.full((3, 60, 50), 255, dtype=torch.uint8)], data_samples=[sample])
    data = build(PREPROCESSOR)(batch, training=True)
    assert data['inputs'].shape == (1, 3, 64, 64)
    for name in MAPS:
        field = data['data_samples'][0].get(name).data
        assert field.shape[1:] == (64, 64), name
        assert torch.equal(field[:, :60, :50], before[name]), name
        assert field[:, 60:].abs().sum() == 0 and field[:, :, 50:].abs().sum() == 0


def test_image_turns_from_bgr_0_255_to_normalised_rgb():
    blue = torch.zeros(3, 16, 16)
    blue[0] = 255
    data = build(PREPROCESSOR)(dict(inputs=[blue], data_samples=[square_sample()]))
    torch.testing.assert_close(data['inputs'][0, :, 0, 0], torch.tensor([-1., -1, 1]))
