# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from run_tool import run_tool
from stained_folder import PALETTE, write_folder

from mmseg_cellvta.visualization.drawing import LOW_COLOR


@pytest.fixture
def config(tmp_path):
    return write_folder(tmp_path / 'data')


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'seen'


def browse(*args):
    return run_tool('analysis_tools/browse_dataset.py', *args)


def test_samples_of_the_pipeline_are_spread_over_the_data(config, out):
    """12 samples in the repeated data: three images, four times."""
    assert browse(config, '--out', out, '--num', 3) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        'train_00000_a_1.png', 'train_00006_a_1.png', 'train_00011_a_3.png']
    sheet = cv2.imread(str(out / 'train_00000_a_1.png'))[..., ::-1]
    assert sheet.shape[1] > 4 * 512 and sheet.shape[0] > 512
    for color in (*PALETTE[1:], LOW_COLOR):
        assert (sheet == color).all(axis=2).any()


def test_images_are_drawn_at_the_scale_of_the_network(config, out):
    text = config.read_text().replace(
        "dict(type='LoadCellAnnotations')",
        "dict(type='LoadCellAnnotations'), dict(type='ResizeToMpp')", 1)
    sheets = []
    for mpp in (0.25, 0.5):
        config.write_text(f'model = dict(mpp={mpp})\n' + text)
        assert browse(config, '--out', out, '--num', 1) == 0
        sheets.append(next(out.iterdir()).read_bytes())
    assert sheets[0] != sheets[1]  # the title says how many px the network sees


def test_there_are_no_more_sheets_than_samples(config, out):
    assert browse(config, '--out', out, '--split', 'test', '--num', 99) == 0
    assert len(list(out.iterdir())) == 2


def test_labels_of_another_size_than_the_input_are_drawn_at_their_own(config, out):
    """The test pipeline halves the image, not the labels, and has no HV map."""
    assert browse(config, '--out', out, '--split', 'val', '--num', 1) == 0
    assert cv2.imread(str(out / 'val_00000_b_1.png')).shape[1] > 4 * 512


def test_the_same_seed_draws_the_same(config, out, tmp_path):
    folders = [out, tmp_path / 'again', tmp_path / 'other']
    flip = 'train_dataloader.dataset.dataset.pipeline.2.prob=0.5'
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        browse(config, '--out', folder, '--seed', seed, '--cfg-options', flip)
    first, again, other = (
        [path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders)
    assert len(first) == 8 and first == again != other


def test_a_wrong_label_is_named(config, out, tmp_path):
    path = tmp_path / 'data/Labels/a_1.npy'
    labels = np.load(path)
    labels[8:20, 6:14, 1] = 9
    np.save(path, labels)
    assert 'a_1.npy: class id 9 (instance 3)' in browse(config, '--out', out)


@pytest.mark.parametrize('args, message', [
    (['--cfg-options', 'train_dataloader=None'], 'has no train_dataloader'),
    (['--cfg-options', 'train_dataloader.dataset.dataset.data_root=none'],
     'dataset.json: no such file'),
])
def test_what_is_missing_is_named(config, out, args, message):
    code = browse(config, '--out', out, *args)
    assert str(code).startswith('error: ') and message in code


def test_no_sample_is_refused(config, out):
    assert browse(config, '--out', out, '--num', 0) == 2
