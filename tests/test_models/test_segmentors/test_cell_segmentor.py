# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from tiny_models import CLASSES, DIMS, ENCODERS, SEGMENTOR, build, square_sample

from mmseg_cellvta.models import CellTTAModel
from mmseg_cellvta.models.decode_heads.hover_decode_head import split_maps

VIEWS = [None, 'horizontal', 'vertical']
FLIP_DIMS = dict(horizontal=2, vertical=1)


def square_maps():
    """The maps that a perfect network gives for `square_sample`, at 64 x 64 px."""
    sample = square_sample()
    nuclei = sample.gt_inst_map.data.long()[0]
    one_hot = torch.nn.functional.one_hot(nuclei, CLASSES).movedim(-1, 0).float()
    return torch.cat([one_hot[:2], sample.gt_hv_map.data, one_hot])


class FixedMaps:
    """Stands in for the network: the maps of the image that it is given."""

    def __init__(self, model, maps):
        self.model, self.maps = model, maps

    def __enter__(self):
        def encode_decode(inputs, metas):
            maps = torch.zeros(len(inputs), len(self.maps), *inputs.shape[2:])
            maps[:, 0] = 1  # padding is background
            maps[:, 4] = 1
            maps[:, :, :self.maps.shape[1], :self.maps.shape[2]] = self.maps
            return maps

        self.model.encode_decode = encode_decode
        return self.model

    def __exit__(self, *_):
        del self.model.encode_decode


def test_tensor_mode_returns_the_maps_by_name():
    outputs = build(SEGMENTOR)(torch.randn(2, 3, 64, 96), mode='tensor')
    assert {name: tuple(value.shape) for name, value in outputs.items()} == dict(
        np=(2, 2, 64, 96), hv=(2, 2, 64, 96), nc=(2, CLASSES, 64, 96))


def test_on_a_cpu_the_image_and_what_is_convolved_from_it_is_channels_last():
    model = build(SEGMENTOR)
    image = torch.randn(1, 3, 64, 96)
    maps = model.extract_feat(image)
    torch.testing.assert_close(maps[0], image)
    half, *_ = model.backbone.spatial_prior(maps[0])
    for x in (maps[0], half):
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_loss_mode_returns_weighted_losses_that_reach_every_trained_weight():
    model = build(SEGMENTOR)
    losses = model(
        torch.randn(2, 3, 64, 64), [square_sample(), square_sample()], mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    without = [
        name for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []


def test_perfect_maps_become_the_nucleus_with_its_class():
    sample = square_sample()
    with FixedMaps(build(SEGMENTOR), square_maps()) as model:
        result = model.predict(torch.zeros(1, 3, 64, 64), [sample])[0]
    true = sample.gt_inst_map.data
    assert result.pred_inst_map.data.shape == (1, 64, 64)
    assert (result.pred_inst_map.data == true).float().mean() > 0.99
    assert torch.equal(result.pred_sem_seg.data > 0, result.pred_inst_map.data > 0)
    np.testing.assert_array_equal(result.pred_instances.labels, [1])
    np.testing.assert_allclose(
        result.pred_instances.centroids, [[31.5, 27.5]], atol=0.6)


def test_predict_without_samples_makes_them():
    model = build(SEGMENTOR).eval()
    with torch.no_grad():
        result = model(torch.randn(2, 3, 64, 64), mode='predict')
    assert len(result) == 2 and result[0].pred_inst_map.shape == (64, 64)


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


@pytest.mark.parametrize('encoder, mean, std', [
    ('vit', 127.5, 127.5),
    ('registers', [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),  # UNI2-h
    ('patch8', 127.5, 127.5),  # kaiko
])
def test_normalization_and_channels_follow_the_encoder(encoder, mean, std):
    model = build(dict(
        SEGMENTOR,
        backbone=dict(SEGMENTOR['backbone'], encoder=ENCODERS[encoder]),
        data_preprocessor=without(SEGMENTOR['data_preprocessor'], 'mean', 'std'),
        decode_head=without(SEGMENTOR['decode_head'], 'in_channels')))
    for name, expected in dict(mean=mean, std=std).items():
        value = getattr(model.data_preprocessor, name)
        torch.testing.assert_close(value.flatten(), torch.tensor(expected).expand(3))
    assert model.decode_head.in_channels == [3] + [DIMS] * 4
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 64, 64), mode='tensor')
    assert maps['np'].shape == (1, 2, 64, 64)


def test_normalization_of_the_config_goes_before_that_of_the_encoder():
    model = build(SEGMENTOR, data_preprocessor=dict(mean=[1., 2, 3], std=[4., 5, 6]),
                  backbone=dict(encoder=ENCODERS['registers']))
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    assert model.data_preprocessor.std.flatten().tolist() == [4, 5, 6]


def test_padding_is_cut_off_again():
    batch = dict(
        inputs=[torch.zeros(3, 50, 60)],
        data_samples=[_of_shape(square_sample(), 50, 60)])
    model = build(SEGMENTOR)
    data = model.data_preprocessor(batch, False)
    assert data['inputs'].shape == (1, 3, 64, 64)
    with FixedMaps(model, square_maps()[:, :50, :60]):
        result = model.predict(**data)[0]
    assert result.pred_inst_map.data.shape == (1, 50, 60)
    assert result.pred_inst_map.data.max() == 1


def test_nuclei_come_back_to_the_pixels_of_the_original_image():
    sample = _of_shape(square_sample(), 32, 128)  # the network saw it at 64 x 64
    with FixedMaps(build(SEGMENTOR), square_maps()) as model:
        result = model.predict(torch.zeros(1, 3, 64, 64), [sample])[0]
    assert result.pred_inst_map.data.shape == (1, 32, 128)
    np.testing.assert_allclose(
        result.pred_instances.centroids, [[2 * 31.5 + 0.5, 27.5 / 2 - 0.25]], atol=1)


@pytest.mark.parametrize('direction, axes', [
    ('horizontal', [0]), ('vertical', [1]), ('diagonal', [0, 1])])
def test_a_flipped_view_is_turned_back_with_its_hv_sign(direction, axes):
    maps = square_maps()
    flipped = maps.flip([2 - axis for axis in axes])
    for axis in axes:
        flipped[2 + axis] *= -1  # what a network sees in the mirror
    sample = square_sample(flip=True, flip_direction=direction)
    with FixedMaps(build(SEGMENTOR), flipped) as model:
        turned, = model.predict_maps(torch.zeros(1, 3, 64, 64), [sample])
    torch.testing.assert_close(turned, maps)


def test_sliding_windows_cover_the_image_and_agree_with_the_whole():
    model = build(SEGMENTOR).eval()
    model.test_cfg = ConfigDict(mode='slide', crop_size=(64, 64), stride=(48, 48))
    sample = _of_shape(square_sample(), 112, 160)
    with torch.no_grad():
        maps, = model.predict_maps(torch.randn(1, 3, 112, 160), [sample])
    np_map, _, nc_map = split_maps(maps)
    assert maps.shape == (4 + CLASSES, 112, 160)
    torch.testing.assert_close(np_map.sum(0), torch.ones(112, 160))
    torch.testing.assert_close(nc_map.sum(0), torch.ones(112, 160))


def slide(encode_decode, inputs, crop_size, stride):
    """Blended maps of an `encode_decode` that stands in for the network."""
    model = build(SEGMENTOR)
    model.test_cfg = ConfigDict(mode='slide', crop_size=crop_size, stride=stride)
    model.encode_decode = encode_decode
    return model.slide_inference(inputs, [{}] * len(inputs))


def repeat_image(tiles, _):
    """Maps that all equal the first channel of the image."""
    return tiles[:, :1].repeat(1, 4 + CLASSES, 1, 1)


@pytest.mark.parametrize(('crop_size', 'stride'), [
    ((64, 64), (48, 48)), ((64, 64), (64, 64)), ((64, 32), (16, 32)),
    ((512, 512), (448, 448))])
def test_tiles_that_agree_blend_to_what_they_agree_on(crop_size, stride):
    inputs = torch.rand(2, 3, 112, 176)
    maps = slide(repeat_image, inputs, crop_size, stride)
    torch.testing.assert_close(maps, inputs[:, :1].expand_as(maps))


def test_a_tile_counts_less_the_nearer_its_border():
    tiles = iter([0.0, 1.0])

    def count_tiles(tile, _):
        return torch.full((1, 4 + CLASSES, *tile.shape[2:]), next(tiles))

    maps = slide(count_tiles, torch.zeros(1, 3, 64, 112), (64, 64), (64, 48))
    row = maps[0, 0, 32]
    assert (row[:48] == 0).all() and (row[64:] == 1).all()
    expected = (torch.arange(16) + 0.5) / 16
    torch.testing.assert_close(row[48:64], expected)


def test_worker_processes_find_the_same_nuclei():
    results = []
    for num_workers in (0, 2):
        model = build(
            SEGMENTOR,
            post_processor=dict(type='HoverPostProcessor', num_workers=num_workers))
        samples = [square_sample(), square_sample()]
        with FixedMaps(model, square_maps()):
            results.append(model.predict(torch.zeros(2, 3, 64, 64), samples))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours.pred_inst_map.data, theirs.pred_inst_map.data)
        np.testing.assert_array_equal(
            ours.pred_instances.class_probs, theirs.pred_instances.class_probs)


def _of_shape(sample, height, width):
    sample.set_metainfo(dict(ori_shape=(height, width), img_shape=(height, width)))
    return sample


def test_a_training_step_leaves_the_frozen_encoder_bit_identical():
    model = build(SEGMENTOR, backbone=dict(injector_init=0.1))
    before = {k: v.clone() for k, v in model.backbone.encoder.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    losses = model.train()(
        torch.randn(2, 3, 64, 64), [square_sample(), square_sample()], mode='loss')
    model.parse_losses(losses)[0].backward()
    norm = model.backbone.norms[0].weight.clone()
    optimizer.step()
    assert not torch.equal(model.backbone.norms[0].weight, norm)  # the rest has learnt
    for key, value in model.backbone.encoder.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_predicts_nearly_the_same_maps(dtype):
    model = build(SEGMENTOR).eval()
    image, sample = torch.randn(1, 3, 64, 64), square_sample()
    with torch.no_grad():
        exact, = model.predict_maps(image, [sample])
        with torch.autocast('cpu', dtype=dtype):
            rough, = model.predict_maps(image, [sample])
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.05)


def views_of(image):
    """What mmcv's TestTimeAug and pseudo_collate make of one image."""
    inputs, samples = [], []
    for direction in VIEWS:
        flip = direction is not None
        view = image.flip(FLIP_DIMS[direction]) if flip else image
        inputs.append([view])
        samples.append([square_sample(flip=flip, flip_direction=direction)])
    return dict(inputs=inputs, data_samples=samples)


def test_maps_are_averaged_after_every_view_is_turned_back():
    model = CellTTAModel(build(SEGMENTOR)).eval()
    views = views_of(torch.randint(0, 255, (3, 64, 64)).float())
    seen = []
    model.module.postprocess_result = lambda maps, samples: seen.extend(maps)
    model.test_step(views)

    single = []
    for inputs, samples in zip(views['inputs'], views['data_samples'], strict=True):
        batch = model.module.data_preprocessor(
            dict(inputs=inputs, data_samples=samples), False)
        with torch.no_grad():
            single.append(model.module.predict_maps(**batch)[0])
    torch.testing.assert_close(seen[0], sum(single) / 3)


def test_the_mirror_image_of_an_image_has_the_mirrored_maps():
    """With both views, it does not matter which of the two is called the image."""
    model = CellTTAModel(build(SEGMENTOR)).eval()
    image = torch.randint(0, 255, (3, 64, 64)).float()
    seen = []
    model.module.postprocess_result = lambda maps, samples: seen.extend(maps)
    for view in (image, image.flip(2)):
        views = views_of(view)
        model.test_step({key: value[:2] for key, value in views.items()})
    maps, of_mirror = seen
    mirrored = maps.flip(2)
    mirrored[2] *= -1
    torch.testing.assert_close(of_mirror, mirrored)


def test_the_sample_gets_nuclei_once():
    model = CellTTAModel(build(SEGMENTOR)).eval()
    result, = model.test_step(views_of(torch.zeros(3, 64, 64)))
    assert {'pred_inst_map', 'pred_sem_seg', 'pred_instances'} <= set(result.keys())
    assert result.sample_name == 'square'
