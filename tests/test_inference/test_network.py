# Copyright (c) CellVTA-MMSeg contributors.
import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from rule_segmentor import CLASSES as RULE_CLASSES
from rule_segmentor import CONFIG, write_model
from tiny_models import CLASSES, DIMS, SEGMENTOR, build

from mmseg_cellvta.conversion.class_list import make_palette
from mmseg_cellvta.datasets import CoNICDataset
from mmseg_cellvta.inference.network import TileNetwork, load_segmentor
from mmseg_cellvta.models.data_preprocessor import CellDataPreProcessor

RNG = np.random.default_rng(0)
LAST_LAYER = 'decode_head.branches.nc.levels.3.2.bias'
CONIC = dict(test_dataloader=dict(dataset=dict(type='CoNICDataset')))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """What `write_model` writes, in memory."""
    return torch.load(write_model(tmp_path_factory.mktemp('model'))[1])


def load(folder, checkpoint, **config):
    torch.save(checkpoint, folder / 'weights.pth')
    cfg = Config(dict(CONFIG, **config))
    return load_segmentor(cfg, folder / 'weights.pth')


def test_weights_and_classes_are_those_of_the_checkpoint(checkpoint, tmp_path):
    model = load(tmp_path, checkpoint)
    assert model.dataset_meta['classes'] == RULE_CLASSES and not model.training
    same = build(CONFIG['model']).eval()
    same.load_state_dict(checkpoint['state_dict'])
    image = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        maps, expected = (network(image, mode='tensor') for network in (model, same))
    for name, values in expected.items():
        torch.testing.assert_close(maps[name], values, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_without_classes_has_those_of_the_config(checkpoint, tmp_path):
    """MMSegmentation would say that the nuclei are those of a data set of its own."""
    metainfo = dict(classes=('background', 'a', 'b'), palette=[[0, 0, 0]] * 3)
    model = load(tmp_path, dict(state_dict=checkpoint['state_dict']),
                 test_dataloader=dict(dataset=dict(
                     type='CoNICDataset', metainfo=metainfo)))
    assert model.dataset_meta['classes'] == metainfo['classes']


@pytest.mark.parametrize('dataset', [
    dict(type='ConcatDataset', datasets=[CONIC['test_dataloader']['dataset']]),
    dict(type='RepeatDataset', times=2, dataset=dict(type='CoNICDataset')),
    dict(type=CoNICDataset)])
def test_classes_are_those_of_the_data_set_inside(checkpoint, tmp_path, dataset):
    with pytest.raises(ValueError, match='has 7; expected 3, background included'):
        load(tmp_path, dict(state_dict=checkpoint['state_dict']),
             test_dataloader=dict(dataset=dataset))


def test_classes_of_the_config_must_be_as_many(checkpoint, tmp_path):
    with pytest.raises(ValueError, match='has 7; expected 3, background included'):
        load(tmp_path, dict(state_dict=checkpoint['state_dict']), **CONIC)


@pytest.mark.parametrize('config', [
    {}, dict(test_dataloader=None),
    dict(test_dataloader=dict(dataset=dict(type='Unknown')))])
def test_classes_that_nobody_names_are_asked_for(checkpoint, tmp_path, config):
    with pytest.raises(ValueError, match='has 0; expected 3, background included'):
        load(tmp_path, dict(state_dict=checkpoint['state_dict']), **config)


@pytest.mark.parametrize(('dataset_meta', 'fault'), [
    (dict(classes=('background', 'red')), 'names 2 classes'),
    (dict(classes=('background', 'red', 'red')), "names a class 'red' twice"),
    (dict(classes=(0, 1, 2)), 'names a class 0')])
def test_classes_of_the_checkpoint_must_be_the_models(
        checkpoint, tmp_path, dataset_meta, fault):
    meta = dict(dataset_meta=dataset_meta)
    with pytest.raises(ValueError, match=rf'weights\.pth: dataset_meta {fault}'):
        load(tmp_path, dict(checkpoint, meta=meta))


@pytest.mark.parametrize('palette', [{}, dict(palette=[[0, 0, 0]])])
def test_a_missing_palette_is_made(checkpoint, tmp_path, palette):
    meta = dict(dataset_meta=dict(classes=RULE_CLASSES, **palette))
    model = load(tmp_path, dict(checkpoint, meta=meta))
    assert model.dataset_meta['palette'] == make_palette(3)


def test_a_cell_classifier_has_class_names_of_its_own(tmp_path):
    model_cfg = dict(CONFIG['model'], type='ReclassifyingRuleSegmentor',
                     cell_classifier=dict(type='CellClassifier', num_classes=5))
    names = ('background', 'a', 'b', 'c', 'd')
    content = dict(state_dict=build(model_cfg).state_dict(),
                   meta=dict(dataset_meta=dict(classes=names)))
    model = load(tmp_path, content, model=model_cfg)
    assert model.dataset_meta['classes'] == names
    content['meta'] = dict(dataset_meta=dict(classes=RULE_CLASSES))
    with pytest.raises(ValueError, match='names 3 classes.*predicts 5'):
        load(tmp_path, content, model=model_cfg)


@pytest.mark.parametrize('change, reason', [
    (lambda weights: weights.popitem(), 'missing keys'),
    (lambda weights: weights.update(more=torch.zeros(1)), 'unexpected key'),
    (lambda weights: weights.update(
        {LAST_LAYER: weights[LAST_LAYER][:2]}), 'size mismatch')])
def test_weights_that_do_not_fit_are_refused(checkpoint, tmp_path, change, reason):
    weights = dict(checkpoint['state_dict'])
    change(weights)
    with pytest.raises(ValueError, match=r'weights\.pth does not fit the config') as e:
        load(tmp_path, dict(checkpoint, state_dict=weights))
    assert reason in str(e.value)


def test_another_normalisation_is_refused(checkpoint, tmp_path):
    meta = dict(checkpoint['meta'], normalization=dict(mean=[0.0] * 3, std=[1.0] * 3))
    with pytest.raises(ValueError, match='normalised by'):
        load(tmp_path, dict(checkpoint, meta=meta))


@pytest.fixture(scope='module')
def model():
    return build(SEGMENTOR).eval()


class OtherPreProcessor(CellDataPreProcessor):
    """One that somebody registered: it may do more than normalise."""

    def forward(self, data, training=False):
        return super().forward(data, training)


@pytest.mark.parametrize('bgr_to_rgb', [True, False])
@pytest.mark.parametrize('kind', [CellDataPreProcessor, OtherPreProcessor])
def test_maps_are_those_of_the_test_pipeline(model, kind, bgr_to_rgb):
    model = copy.deepcopy(model)
    model.data_preprocessor = kind(
        mean=[100, 120, 140], std=[50, 60, 70], bgr_to_rgb=bgr_to_rgb,
        size_divisor=16, test_cfg=dict(size_divisor=16))
    tiles = RNG.integers(0, 255, (2, 64, 48, 3), np.uint8)
    maps, tokens = TileNetwork(model)(tiles)
    assert tokens.shape == (2, 0, 4, 3)
    assert maps.shape == (2, 4 + CLASSES, 64, 48) and maps.dtype == torch.float32
    bgr = [torch.from_numpy(tile[..., ::-1].transpose(2, 0, 1).copy())
           for tile in tiles]
    samples = [SegDataSample(metainfo=dict(ori_shape=(64, 48), img_shape=(64, 48)))
               for _ in bgr]
    data = model.data_preprocessor(dict(inputs=bgr, data_samples=samples))
    with torch.no_grad():
        expected = torch.stack(model.predict_maps(**data))
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    np.testing.assert_allclose(maps[:, :2].sum(axis=1), 1, atol=1e-5)


def test_tokens_come_with_the_same_maps(model):
    tiles = RNG.integers(0, 255, (2, 64, 48, 3), np.uint8)
    maps, tokens = TileNetwork(model, with_tokens=True)(tiles)
    assert tokens.shape == (2, DIMS, 4, 3) and tokens.dtype == torch.float32
    np.testing.assert_array_equal(maps, TileNetwork(model)(tiles)[0])


def test_half_precision_is_close(model):
    tiles = RNG.integers(0, 255, (1, 64, 64, 3), np.uint8)
    (full, _), (half, _) = (
        TileNetwork(model, amp)(tiles) for amp in (False, True))
    assert half.dtype == torch.float32 and not torch.equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05)


@pytest.mark.parametrize(('seconds', 'expected'), [
    ({1: 1.0, 2: 0.6, 4: 0.4, 8: 0.39}, 4),  # 8 gains too little
    ({1: 1.0, 2: 1.1}, 1),
    ({1: 1.0, 2: 0.5}, 2),  # 4 does not fit
    ({2**i: 0.5**i for i in range(7)}, 64),
])
def test_the_batch_grows_while_that_pays_and_fits(
        model, monkeypatch, seconds, expected):
    def time_batch(self, batch_size, tile):
        if batch_size not in seconds:
            raise torch.cuda.OutOfMemoryError
        return seconds[batch_size]

    monkeypatch.setattr(TileNetwork, '_seconds', time_batch)
    assert TileNetwork(model).find_batch_size((256, 256)) == expected


def test_trying_really_runs_the_network(model):
    assert TileNetwork(model).find_batch_size((32, 32)) in (1, 2, 4, 8, 16, 32, 64)
