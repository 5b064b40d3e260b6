# Copyright (c) CellVTA-MMSeg contributors.
"""From a segmentor's checkpoint to a tested model with new classes."""
import json
from pathlib import Path

import pytest
import torch
from coloured_nuclei import CLASSES, MODEL, see_colours, write_pictures
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from run_tool import TOOLS, run_tool
from tiny_models import SEGMENTOR, build

from mmseg_cellvta.engine.cell_classifier_training import read_checkpoint
from mmseg_cellvta.models import ReclassifyingSegmentor

CONFIG = Path(__file__).resolve().parents[2] / 'configs/cell_classifier_consep.py'
PIPELINE = [dict(type=name) for name in (
    'LoadCellImage', 'LoadCellAnnotations', 'PackCellInputs')]


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """A folder with the real config on drawn pictures, and a segmentor's checkpoint."""
    folder = tmp_path_factory.mktemp('classifier')
    write_pictures(folder / 'data', ['a_1', 'a_2', 'a_3'])
    cfg = Config.fromfile(CONFIG)
    cfg.model = MODEL
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    for index, loader in enumerate(loaders):
        pictures = dict(
            type='CellFolderDataset', data_root=str(folder / 'data'), indices=[index],
            test_mode=True, pipeline=PIPELINE)
        tokens = dict(type='CellTokenDataset', pictures=pictures)
        loader.dataset = pictures if loader is cfg.test_dataloader else tokens
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.max_epochs = 4
    cfg.optim_wrapper.optimizer.lr = 0.1
    cfg.dump(folder / 'config.py')
    init_default_scope('mmseg')
    segmentor = build(SEGMENTOR, decode_head=MODEL['decode_head'])
    torch.save(dict(state_dict=segmentor.state_dict()), folder / 'segmentor.pth')
    return folder


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """The network sees colours, and the tools are found."""
    monkeypatch.setattr(ReclassifyingSegmentor, 'encode_decode_tokens', see_colours)
    monkeypatch.syspath_prepend(str(TOOLS))


def train(work, *options):
    return run_tool(
        'train_cell_classifier.py', work / 'config.py', work / 'segmentor.pth',
        '--work-dir', work / 'out', *options)


@pytest.fixture(scope='module')
def trained(work):
    """The checkpoint of segmentor and classifier."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReclassifyingSegmentor, 'encode_decode_tokens', see_colours)
        patch.syspath_prepend(str(TOOLS))
        assert train(work) == 0
    return work / 'out' / 'with_classifier.pth'


def test_the_test_tool_scores_and_exports_the_new_classes(work, trained):
    assert run_tool('test.py', work / 'config.py', trained, '--work-dir', work / 'test',
                    '--out', work / 'cells') == 0
    metrics = json.loads((work / 'cells/metrics.json').read_text())
    for name in ('F1_blue', 'F1_green', 'mPQ'):
        assert metrics[f'cell/{name}'] == pytest.approx(1, abs=1e-4)
    features = json.loads((work / 'cells/a_3.geojson').read_text())['features']
    names = [feature['properties']['classification']['name'] for feature in features]
    assert sorted(names) == ['blue', 'blue', 'blue', 'green']


def test_the_checkpoint_is_plain_and_holds_segmentor_and_classes(work, trained):
    checkpoint = torch.load(trained, map_location='cpu', weights_only=True)
    segmentor = torch.load(work / 'segmentor.pth', weights_only=True)['state_dict']
    for key, value in segmentor.items():
        assert torch.equal(checkpoint['state_dict'][key], value), key
    assert list(checkpoint['meta']['dataset_meta']['classes']) == list(CLASSES)
    assert 'ReclassifyingSegmentor' in checkpoint['meta']['cfg']


def test_a_second_training_takes_the_tokens_that_are_there(work, trained, monkeypatch):
    monkeypatch.setattr(ReclassifyingSegmentor, 'test_step', None)
    assert train(work, '--cfg-options', 'train_cfg.max_epochs=1') == 0


@pytest.mark.parametrize(('balance', 'weights'), [
    (True, [4 / (2 * 3), 4 / (2 * 1)]), (False, None)])
def test_rare_classes_weigh_more_unless_switched_off(
        work, trained, monkeypatch, balance, weights):
    cfgs = []
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: cfgs.append(cfg) or stop())
    with pytest.raises(StopIteration):
        train(work, '--cfg-options', f'balance_classes={balance}')
    assert cfgs[0].model.get('class_weight') == weights


def stop():
    raise StopIteration


def test_the_checkpoint_of_the_segmentor_alone_is_refused_by_the_test_tool(work):
    with pytest.raises(ValueError, match='fc1.weight is missing in the checkpoint'):
        run_tool('test.py', work / 'config.py', work / 'segmentor.pth',
                 '--work-dir', work / 'test')


def test_missing_files_and_launchers_end_with_one_sentence(work, capsys):
    message = run_tool('train_cell_classifier.py', work / 'config.py', 'gone.pth')
    assert message.startswith('segmentor gone.pth: no such file')
    assert train(work, '--launcher', 'slurm') == 2
    assert 'trained by one process' in capsys.readouterr().err


@pytest.mark.parametrize(('content', 'message'), [
    (dict(state_dict={}, code=Path), 'tensors and plain values only'),
    (dict(weights={}), 'holds no state_dict')])
def test_a_file_with_code_or_without_weights_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=f'other.pth: .*{message}'):
        read_checkpoint(str(tmp_path / 'other.pth'))
