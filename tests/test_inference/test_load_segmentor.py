# Copyright (c) CellVTA-MMSeg contributors.
import pytest
import torch
from mmengine.config import Config
from rule_segmentor import CLASSES, CONFIG, write_model

from mmseg_cellvta.inference.load_segmentor import load_segmentor

LAST_LAYER = 'decode_head.branches.nc.levels.3.2.bias'
CONIC = dict(test_dataloader=dict(dataset=dict(type='CoNICDataset')))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """What `write_model` writes, in memory."""
    return torch.load(write_model(tmp_path_factory.mktemp('model'))[1])


def load(folder, checkpoint, **config):
    torch.save(checkpoint, folder / 'weights.pth')
    cfg = Config(dict(CONFIG, **config))
    return load_segmentor(cfg, folder / 'weights.pth', device='cpu')


def test_weights_and_classes_are_those_of_the_checkpoint(checkpoint, tmp_path):
    model = load(tmp_path, checkpoint)
    assert model.dataset_meta['classes'] == CLASSES and not model.training
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, checkpoint['state_dict'][key])


def test_a_checkpoint_without_classes_has_those_of_the_config(checkpoint, tmp_path):
    """MMSegmentation would say that the nuclei are those of a data set of its own."""
    metainfo = dict(classes=('background', 'a', 'b'), palette=[[0, 0, 0]] * 3)
    model = load(tmp_path, dict(state_dict=checkpoint['state_dict']),
                 test_dataloader=dict(dataset=dict(
                     type='CoNICDataset', metainfo=metainfo)))
    assert model.dataset_meta['classes'] == metainfo['classes']


def test_classes_of_the_config_must_be_as_many(checkpoint, tmp_path):
    with pytest.raises(ValueError, match='has 7; expected 3, background included'):
        load(tmp_path, dict(state_dict=checkpoint['state_dict']), **CONIC)


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
