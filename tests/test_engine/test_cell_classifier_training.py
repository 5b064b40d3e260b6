# Copyright (c) CellVTA-MMSeg contributors.
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_nuclei import CLASSES, MODEL, see_colours, write_images
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from run_tool import TOOLS, run_tool
from tiny_models import SEGMENTOR, build

from mmseg_cellvta.datasets import CellFolderDataset
from mmseg_cellvta.engine.cell_classifier_training import (
    CellTokenDataset,
    TokenCache,
    extract_tokens,
    label_nuclei,
    token_key,
)
from mmseg_cellvta.models import ReclassifyingSegmentor

CONFIG = Path(__file__).resolve().parents[2] / 'configs/cell_classifier_consep.py'
PIPELINE = [dict(type=name) for name in (
    'LoadCellImage', 'LoadCellAnnotations', 'PackCellInputs')]


@pytest.fixture
def entry(tmp_path):
    for name in ('a.png', 'a.npy'):
        (tmp_path / name).write_bytes(b'1')
    return dict(sample_name='a', img_path=str(tmp_path / 'a.png'),
                label_path=str(tmp_path / 'a.npy'), num_classes=3)


def test_what_is_saved_comes_back_and_leaves_one_file(tmp_path, entry):
    cache = TokenCache(tmp_path / 'tokens')
    assert entry not in cache
    tokens, labels = np.eye(2, 3, dtype=np.float32), np.array([2, 1])
    cache.save(entry, tokens, labels)
    assert entry in cache
    for saved, loaded in zip((tokens, labels), cache.load(entry), strict=True):
        np.testing.assert_array_equal(loaded, saved)
        assert loaded.dtype == saved.dtype
    assert len(list((tmp_path / 'tokens').iterdir())) == 1


def test_a_changed_label_file_or_entry_is_another_image(tmp_path, entry):
    cache = TokenCache(tmp_path)
    cache.save(entry, np.zeros((0, 3)), np.zeros(0, int))
    assert {**entry, 'num_classes': 2} not in cache
    os.utime(entry['label_path'], (1, 1))
    assert entry not in cache


@pytest.fixture
def images(tmp_path):
    """Config of two images, whose five nuclei are in the cache beside them."""
    write_images(tmp_path, ['a_1', 'a_2'])
    config = dict(type='CellFolderDataset', data_root=str(tmp_path))
    dataset = CellFolderDataset(data_root=str(tmp_path))
    cache = TokenCache(tmp_path / 'tokens')
    for index, labels in enumerate(([1, 2, 1], [1, 1])):
        tokens = np.full((len(labels), 4), index, np.float32)
        cache.save(dataset.get_data_info(index), tokens, np.array(labels))
    return config, str(tmp_path / 'tokens')


def test_nuclei_of_all_images_are_samples(images):
    dataset = CellTokenDataset(*images)
    assert len(dataset) == 5 and dataset.metainfo['classes'] == list(CLASSES)
    sample = dataset[3]
    np.testing.assert_array_equal(sample['tokens'], [1, 1, 1, 1])
    assert [dataset[i]['labels'] for i in range(5)] == [1, 2, 1, 1, 1]


def test_weights_make_the_classes_count_the_same(images):
    dataset = CellTokenDataset(*images)
    assert dataset.class_weight() == pytest.approx([5 / (2 * 4), 5 / (2 * 1)])
    dataset.labels[:] = 1
    assert dataset.class_weight() == [1, 0]  # the other class never occurs


def test_without_tokens_the_tool_is_named(images, tmp_path):
    with pytest.raises(ValueError, match='tools/train_cell_classifier.py'):
        CellTokenDataset(images[0])
    with pytest.raises(FileNotFoundError, match='a_1-'):
        CellTokenDataset(images[0], str(tmp_path / 'nowhere'))


def test_no_nucleus_at_all_points_to_the_segmentor(images, tmp_path):
    dataset = CellFolderDataset(data_root=str(tmp_path))
    for index in range(2):
        TokenCache(images[1]).save(
            dataset.get_data_info(index), np.zeros((0, 4)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match='in 2 images no detected nucleus'):
        CellTokenDataset(*images)


def test_detections_near_a_true_nucleus_get_its_class():
    true_map = np.zeros((40, 40), int)
    true_map[2:7, 2:7] = 9  # centre (4, 4)
    true_map[20:25, 30:35] = 4  # centre x 32, y 22
    classes = (true_map == 9) * 3 + (true_map == 4) * 1
    found = InstanceData(centroids=np.array([[15, 30], [33, 22], [4, 6]]))
    rows, labels = label_nuclei(found, true_map, classes, radius_px=3)
    assert dict(zip(rows.tolist(), labels.tolist(), strict=True)) == {1: 1, 2: 3}


@pytest.mark.parametrize(('true', 'found'), [(0, 2), (1, 0), (0, 0)])
def test_images_where_one_side_is_empty(true, found):
    true_map = np.zeros((8, 8), int)
    true_map[2:4, 2:4] = true
    rows, labels = label_nuclei(
        InstanceData(centroids=np.zeros((found, 2))), true_map, true_map, 1)
    assert len(rows) == len(labels) == 0


@pytest.fixture
def extraction(tmp_path, monkeypatch):
    """Model, images and an empty cache; the names of images that were seen."""
    monkeypatch.setattr(ReclassifyingSegmentor, 'encode_decode_tokens', see_colours)
    write_images(tmp_path, ['a_1', 'a_2'])
    model = build(MODEL).eval()
    seen = []
    test_step = model.test_step
    monkeypatch.setattr(model, 'test_step', lambda data: seen.append(
        data['data_samples'][0].sample_name) or test_step(data))
    dataset = CellFolderDataset(
        data_root=str(tmp_path), pipeline=PIPELINE, test_mode=True)
    return model, dataset, TokenCache(tmp_path / 'tokens'), seen


def test_labelled_tokens_of_every_image_are_kept(extraction):
    model, dataset, cache, _ = extraction
    extract_tokens(model, dataset, cache)
    for index in range(2):
        tokens, labels = cache.load(dataset.get_data_info(index))
        assert sorted(labels) == [1, 1, 1, 2]
        # Channels of the drawn network: red, green, blue.
        np.testing.assert_array_equal(tokens[:, :3].argmax(axis=1), 3 - labels)


def test_an_image_that_is_there_is_not_seen_again(extraction):
    model, dataset, cache, seen = extraction
    extract_tokens(model, dataset, cache)
    cache.path(dataset.get_data_info(1)).unlink()  # as after an interruption
    extract_tokens(model, dataset, cache)
    assert seen == ['a_1', 'a_2', 'a_2']


def test_the_key_follows_segmentor_and_pipeline_but_not_the_classifier(tmp_path):
    path = Path(tmp_path, 'a.pth')
    path.write_bytes(b'one')
    keys = [token_key(path, dict(type='A', cell_classifier=c), [])
            for c in (dict(a=1), dict(a=2))]
    assert keys[0] == keys[1] and len(keys[0]) == 16
    others = [token_key(path, dict(type='B'), []),
              token_key(path, dict(type='A'), [dict(type='Resize')])]
    path.write_bytes(b'two')
    others.append(token_key(path, dict(type='A'), []))
    assert len({keys[0], *others}) == 4


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """A folder with the real config on drawn images, and a segmentor's checkpoint."""
    folder = tmp_path_factory.mktemp('classifier')
    write_images(folder / 'data', ['a_1', 'a_2', 'a_3'])
    cfg = Config.fromfile(CONFIG)
    cfg.model = MODEL
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    for index, loader in enumerate(loaders):
        images = dict(
            type='CellFolderDataset', data_root=str(folder / 'data'), indices=[index],
            test_mode=True, pipeline=PIPELINE)
        tokens = dict(type='CellTokenDataset', images=images)
        loader.dataset = images if loader is cfg.test_dataloader else tokens
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


@pytest.mark.parametrize(('meta', 'message'), [
    (dict(dataset_meta=dict(classes=('background', 'a', 'b'))), 'names 3 classes'),
    (dict(normalization=dict(mean=[1.0] * 3, std=[2.0] * 3)), 'normalised by')])
def test_a_segmentor_that_does_not_fit_is_refused(work, tmp_path, meta, message):
    content = torch.load(work / 'segmentor.pth')
    torch.save(dict(content, meta=meta), tmp_path / 'other.pth')
    error = run_tool('train_cell_classifier.py', work / 'config.py',
                     tmp_path / 'other.pth', '--work-dir', tmp_path / 'out')
    assert message in error and '\n' not in error


def test_weights_that_do_not_fit_are_refused(work, tmp_path):
    content = torch.load(work / 'segmentor.pth')
    content['state_dict'].popitem()
    torch.save(content, tmp_path / 'other.pth')
    error = run_tool('train_cell_classifier.py', work / 'config.py',
                     tmp_path / 'other.pth', '--work-dir', tmp_path / 'out')
    assert 'other.pth does not fit the config' in error


def test_the_checkpoint_of_the_segmentor_alone_is_refused_by_the_test_tool(work):
    error = run_tool('test.py', work / 'config.py', work / 'segmentor.pth',
                     '--work-dir', work / 'test')
    assert '4 weights of the config are not in the checkpoint' in error
    assert 'cell_classifier.fc1' in error


def test_missing_files_and_launchers_end_with_one_sentence(work, capsys):
    message = run_tool('train_cell_classifier.py', work / 'config.py', 'gone.pth')
    assert message.startswith('segmentor gone.pth: no such file')
    assert train(work, '--launcher', 'slurm') == 2
    assert 'trained by one process' in capsys.readouterr().err
