# Copyright (c) CellVTA-MMSeg contributors.
"""The converters as commands: their arguments, what they print, and their faults."""
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conic_files import write_conic
from own_data import write_image, write_labels
from pannuke_files import write_fold
from run_tool import TOOLS, run_script
from scipy.io import loadmat, savemat

from mmseg_cellvta.datasets import CoNSePDataset

CUSTOM_ARGS = ['--classes', 'tumour,other', '--mpp', 0.25]
PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
MERGED = np.array([0, 1, 2, 3, 3, 4, 4, 4])


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Converts ``src`` to ``out`` in this process."""

    def convert(tool, *args):
        monkeypatch.chdir(tmp_path)
        run_script(f'dataset_converters/{tool}.py', tmp_path / 'src', 'out', *args)

    return convert


def write_consep(folder):
    write_image(folder / 'Train/Images/train_1.png')
    write_labels(folder / 'Train/Labels/train_1.mat')


def write_custom(folder):
    for i in range(10):
        write_image(folder / f'images/p{i // 2}_{i}.png')
        write_labels(folder / f'labels/p{i // 2}_{i}.geojson')


SOURCES = dict(conic=write_conic, pannuke=lambda folder: write_fold(folder / 'fold2'),
               consep=write_consep, custom=write_custom)
ARGS = dict(custom=CUSTOM_ARGS)


@pytest.mark.parametrize('tool', SOURCES)
def test_help_does_not_wait_for_slow_imports(tool):
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', TOOLS / f'dataset_converters/{tool}.py',
         '--help'], capture_output=True, text=True, check=True)
    assert 'argparse' in done.stderr and 'converter_arguments' in done.stderr
    assert not re.search(r'\| +(torch|mm\w+|cv2|scipy|skimage)$', done.stderr, re.M)


@pytest.mark.parametrize(('args', 'message'), [
    (['conic', 'gone', 'out'], 'argument src: gone: no such folder'),
    *([[tool, 'src', 'src', *ARGS.get(tool, [])], 'argument out: src: exists already; '
       'delete it or choose another folder'] for tool in SOURCES),
    (['consep', 'src', 'out', '--tile', -3], '--tile: -3 px: expected 0 or more'),
    (['custom', 'src', 'out', '--mpp', 0], '--mpp: 0: expected µm/px above 0'),
    (['custom', 'src', 'out', '--mpp', 'nan'], '--mpp: nan: expected'),
    (['custom', 'src', 'out', '--val-share', 1], '--val-share: 1: expected a share')])
def test_wrong_arguments_are_named(tmp_path, monkeypatch, capsys, args, message):
    (tmp_path / 'src').mkdir()
    monkeypatch.chdir(tmp_path)
    tool, *args = args
    with pytest.raises(SystemExit, match='2'):
        run_script(f'dataset_converters/{tool}.py', *args)
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['src']


@pytest.mark.parametrize(('tool', 'args', 'message'), [
    ('conic', ['--folds', 11], '11 folds: expected 2 to 10'),
    ('consep', ['--tile', 40, '--overlap', 40], 'tiles of 40 px'),
    ('consep', ['--tile', 41], 'train_1: 60 x 40 px, smaller than a tile'),
    ('custom', ['--classes', 'tumour,TUMOUR', '--mpp', 1], "'tumour' is there twice"),
    ('custom', ['--classes', 'a,b', '--mpp', 1], "class 'Tumour' is none of a, b"),
    ('custom', [*CUSTOM_ARGS, '--val-share', 0.9], 'shares of 0.9 and 0.2'),
    ('custom', [*CUSTOM_ARGS, '--group', 'p'], '--group p: expected round brackets')])
def test_faults_are_one_sentence(tmp_path, run, tool, args, message):
    SOURCES[tool](tmp_path / 'src')
    with pytest.raises(SystemExit) as stop:
        run(tool, *args)
    assert message in str(stop.value) and '\n' not in str(stop.value)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('tool', 'said'), [
    ('conic', ['out: by the split of the paper', 'every image 8 x 8 px',
               'epithelial │ 17 (50.0 %) │ 2 (50.0 %)',
               'splits/paper.json is not the test part of the paper']),
    ('pannuke', ['every image 32 x 32 px', 'neoplastic', 'so there is no fold1']),
    ('consep', ['every image 60 x 40 px']),
    ('custom', ['every image 60 x 40 px', '14 (66.7 %)',
                "for your config: data_root = 'out', num_classes = 3"])])
def test_table_and_remarks_are_printed(tmp_path, run, capsys, tool, said):
    SOURCES[tool](tmp_path / 'src')
    run(tool, *ARGS.get(tool, []))
    printed = ' '.join(capsys.readouterr().out.split())
    for words in said:
        assert words in printed


def count_lines(path):
    return len(path.read_text().splitlines()) if path.exists() else None


@pytest.mark.parametrize(('args', 'counts'), [
    ([], [7, 1, 2]),
    (['--val-share', 0, '--test-share', 0.4, '--group', r'^(p\d)'], [6, None, 4]),
    (['--tile', 40, '--overlap', 20], [14, 2, 4])])
def test_custom_images_are_divided_as_told(tmp_path, run, args, counts):
    write_custom(tmp_path / 'src')
    run('custom', *CUSTOM_ARGS, *args)
    assert counts == [count_lines(tmp_path / f'out/{part}.txt')
                      for part in ('train', 'val', 'test')]


def test_custom_classes_in_a_file(tmp_path, run):
    write_custom(tmp_path / 'src')
    (tmp_path / 'names.txt').write_text('Other\nTumour\n')
    run('custom', '--classes', 'names.txt', '--mpp', 0.25)
    assert json.loads((tmp_path / 'out/dataset.json').read_text())['classes'] == [
        'background', 'Other', 'Tumour']


def test_divided_folders_need_no_shares(tmp_path, run):
    for part in ('train', 'test'):
        write_custom(tmp_path / f'src/{part}')
    with pytest.raises(SystemExit, match='give no --val-share'):
        run('custom', *CUSTOM_ARGS, '--val-share', 0.5)
    run('custom', *CUSTOM_ARGS)
    assert [count_lines(tmp_path / f'out/{part}.txt')
            for part in ('train', 'val', 'test')] == [10, None, 10]


def count_types(source):
    """Nuclei of the merged classes 1 to 4 by ``inst_type``."""
    types = np.concatenate([
        loadmat(path)['inst_type'].ravel().astype(int)
        for path in source.glob('*/Labels/*.mat')])
    types = MERGED[types] if types.max() > 4 else types
    return np.bincount(types, minlength=5)[1:].tolist()


def check_consep_against_itself(tmp_path, run):
    """The converted ground truth has every nucleus, and scores 1."""
    run('consep')
    dataset = CoNSePDataset(data_root=str(tmp_path / 'out'), pipeline=PIPELINE)
    expected = count_types(tmp_path / 'src')
    assert np.sum([sample['nuclei_per_class'] for sample in dataset], 0).tolist() == (
        expected)
    array = np.stack([np.stack([sample['gt_inst_map'], sample['gt_seg_map']], -1)
                      for sample in dataset])
    pairs = [np.unique(labels.reshape(-1, 2), axis=0)[1:] for labels in array]
    present = np.bincount(np.concatenate(pairs)[:, 1], minlength=5)[1:]
    assert present.tolist() == expected
    path = tmp_path / 'true.npy'
    np.save(path, array)
    run_script('analysis_tools/eval_instances.py', path, path, '--num-classes', 5,
               '--radius-px', 12, '--out', tmp_path / 'metrics.json')
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert 'cell/PQ_class_4' in metrics and 'cell/F1_det' in metrics
    # The published panoptic quality adds a millionth to its denominators.
    assert metrics == {name: pytest.approx(1, abs=1e-5) for name in metrics}


def test_consep_labels_come_through_unchanged(tmp_path, run, capsys):
    maps = np.zeros((2, 40, 60))
    for class_id in range(1, 8):
        maps[:, 3:12, 8 * class_id - 8:8 * class_id] = [[[90 - class_id]], [[class_id]]]
    for name in ('Train/{}/train_1', 'Train/{}/train_2', 'Test/{}/test_1'):
        write_image(tmp_path / f'src/{name.format("Images")}.png')
        label_path = tmp_path / f'src/{name.format("Labels")}.mat'
        label_path.parent.mkdir(exist_ok=True)
        savemat(label_path, dict(inst_map=maps[0], type_map=maps[1],
                                 inst_type=np.arange(7, 0, -1.0)[:, None]))
    check_consep_against_itself(tmp_path, run)
    printed = capsys.readouterr().out
    assert 'the 7 original classes were merged to 4' in printed
    assert '4 (28.6 %)' in printed  # 3 and 4 are epithelial, in two images


def test_real_consep_labels_come_through_unchanged(shared_dir, tmp_path, run):
    shutil.copytree(shared_dir / 'data' / 'CoNSeP', tmp_path / 'src')
    check_consep_against_itself(tmp_path, run)
