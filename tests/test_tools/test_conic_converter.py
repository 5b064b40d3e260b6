# Copyright (c) CellVTA-MMSeg contributors.
import csv
import json
import re
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from interrupted import run_and_kill
from rich.progress import Progress
from run_tool import run_script
from sklearn.model_selection import StratifiedShuffleSplit

from mmseg_cellvta.conversion import writers as patch_writer
from mmseg_cellvta.conversion.conic import convert_conic
from mmseg_cellvta.conversion.splits import make_splits
from mmseg_cellvta.datasets import CoNICDataset
from mmseg_cellvta.datasets.conic_dataset import PAPER_TEST_SOURCES

ARRAYS = ('images.npy', 'labels.npy', 'patch_info.csv')
SIDE = 8
TEST_SOURCES = json.loads(Path(PAPER_TEST_SOURCES).read_text())['sources']
COHORTS = sorted({source.split('_')[0] for source in TEST_SOURCES})
# 3,990 patches of 190 source images that CoNIC does not have, in its five cohorts.
TRAIN_SOURCES = {f'{COHORTS[index % 5]}_{index + 500}': 21 for index in range(190)}


def names_of(sources):
    return [f'{source}-{index:04d}' for source, count in sources.items()
            for index in range(count)]


@pytest.fixture
def run():
    return partial(run_script, 'dataset_converters/conic.py')


@pytest.fixture
def make(tmp_path):
    """Write CoNIC's three files with patches of the given source images."""

    def make(sources):
        names = names_of(sources)
        rng = np.random.default_rng(0)
        np.save(tmp_path / 'images.npy', rng.integers(
            0, 256, (len(names), SIDE, SIDE, 3), dtype=np.uint8))
        labels = np.zeros((len(names), SIDE, SIDE, 2), np.uint16)
        labels[:, 1:3, 1:5] = 1, 2
        labels[:, 5:7, 1:5] = 300, 6
        labels[0] = 0
        np.save(tmp_path / 'labels.npy', labels)
        with open(tmp_path / 'patch_info.csv', 'w', newline='') as file:
            csv.writer(file).writerows([['patch_info'], *([name] for name in names)])
        return tmp_path

    return make


@pytest.fixture
def src(make):
    """20 patches of ten source images, two of them of the paper's test part."""
    sources = {f'{cohort}_{number}': 2 for cohort in ('consep', 'crag')
               for number in (1, 3, 4, 6, 12)}
    return make(sources)


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def split_names(root, split, **kwargs):
    dataset = CoNICDataset(data_root=str(root), split=split, validate_labels=False,
                           lazy_init=True, **kwargs)
    return [entry['sample_name'] for entry in dataset.load_data_list()]


def sources_in(names):
    return {name.split('-')[0] for name in names}


def test_copy_is_what_was_there(src, out, run, capsys):
    run(src, out)
    for name in ARRAYS:
        assert (out / name).read_bytes() == (src / name).read_bytes()
    text = capsys.readouterr().out
    assert 'every image 8 x 8 px' in text
    assert re.search(r'images +│ 18 +│ 2 ', text)
    assert re.search(r'epithelial +│ 17 \(50.0 %\) +│ 2 \(50.0 %\)', text)
    assert re.search(r'without nuclei, % +│ 5.6 +│ 0.0 ', text)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*ARRAYS, 'conversion.json', 'splits'])
    assert len(CoNICDataset(data_root=str(out), sources_file='splits/paper.json',
                            split='test')) == 2


def test_the_real_names_split_into_991_and_3990_and_no_source_is_on_both_sides(
        make, out):
    src = make(TEST_SOURCES | TRAIN_SOURCES)
    _, remarks = convert_conic(src, out, 5, Progress(disable=True))
    assert remarks == []
    # The original files, without conversion, are split alike.
    for root, kwargs in ((src, {}), (out, dict(sources_file='splits/paper.json'))):
        assert len(split_names(root, 'test', **kwargs)) == 991
        assert len(split_names(root, 'train', **kwargs)) == 3990
        assert sources_in(split_names(root, 'test', **kwargs)) == set(TEST_SOURCES)
    files = sorted(path.name for path in (out / 'splits').iterdir())
    assert files == ['challenge.json', *(f'fold_{k}_of_5.json' for k in range(1, 6)),
                     'paper.json']
    for name in files:
        sides = [split_names(out, split, sources_file=f'splits/{name}', val_share=0.2)
                 for split in ('train', 'val', 'test')]
        assert sum(map(len, sides)) == 4981
        sources = [sources_in(side) for side in sides]
        assert len(set.union(*sources)) == sum(map(len, sources)) == 241


def test_challenge_split_is_that_of_the_baseline():
    sources = [name.split('-')[0] for name in names_of(TEST_SOURCES | TRAIN_SOURCES)]
    splits, _ = make_splits(sources, 5)
    names = np.unique(sources)
    _, cohorts = np.unique([name.split('_')[0] for name in names], return_inverse=True)
    splitter = StratifiedShuffleSplit(
        n_splits=10, train_size=0.8, test_size=0.2, random_state=5)
    _, test = list(splitter.split(names, cohorts))[0]
    assert set(splits['challenge.json']) == set(names[test])
    assert len(test) == 49  # of 241
    assert splits['challenge.json'].items() <= (TEST_SOURCES | TRAIN_SOURCES).items()


@pytest.mark.parametrize('num_folds', [2, 5, 10])
def test_folds_divide_the_sources_evenly_and_repeatably(num_folds):
    sources = [name.split('-')[0] for name in names_of(TEST_SOURCES | TRAIN_SOURCES)]
    splits, _ = make_splits(sources, num_folds)
    assert make_splits(sources, num_folds)[0] == splits
    folds = [splits[f'fold_{k}_of_{num_folds}.json'] for k in range(1, num_folds + 1)]
    assert sorted(name for fold in folds for name in fold) == sorted(set(sources))
    for fold in folds:
        assert sum(fold.values()) == pytest.approx(4981 / num_folds, rel=0.05)
        assert {name.split('_')[0] for name in fold} == set(COHORTS)


def test_folds_are_the_same_with_every_version_of_scikit_learn():
    sources = [name.split('-')[0] for name in names_of(TEST_SOURCES | TRAIN_SOURCES)]
    splits, _ = make_splits(sources, 5)
    folds = [list(splits[f'fold_{k}_of_5.json']) for k in range(1, 6)]
    assert [len(fold) for fold in folds] == [45, 49, 50, 49, 48]
    assert zlib.crc32(json.dumps(folds).encode()) == 2996344658


def test_other_names_than_those_of_the_paper_are_said(make, out, run, capsys):
    sources = {source: 36 for source in list(TEST_SOURCES)[6:10]}  # crag
    run(make(sources | dict(consep_2=3, consep_400=4)), out, '--folds', 3)
    text = ' '.join(capsys.readouterr().out.split())
    assert ('splits/paper.json is not the test part of the paper: it has 147 of 991 '
            'patches, because 47 of 51 source images differ, the first is consep_12 (0 '
            'patches instead of 4)') in text
    content = json.loads((out / 'splits/paper.json').read_text())
    assert content == dict(n_patches=147, sources=sources | dict(consep_2=3))


def test_too_few_sources_for_the_challenge_are_said(make, out, run, capsys):
    run(make(dict(a_1=3, b_1=4)), out, '--folds', 2)
    assert 'splits/challenge.json is left out: 2 source' in capsys.readouterr().out
    assert not (out / 'splits/challenge.json').exists()
    assert CoNICDataset(data_root=str(out), sources_file='splits/fold_1_of_2.json',
                        split='test')


@pytest.mark.parametrize('folds', [0, 1, 11])
def test_impossible_folds_are_refused_before_anything_is_written(src, out, run, folds):
    with pytest.raises(SystemExit, match=f'{folds} folds: expected 2 to 10'):
        run(src, out, '--folds', folds)
    assert not out.with_name('out.part').exists()


def test_killed_halfway_it_goes_on_to_the_same_files(src, tmp_path, monkeypatch):
    monkeypatch.setattr(patch_writer, 'CHUNK', 4)
    convert_conic(src, tmp_path / 'whole', 5, Progress(disable=True))
    out = tmp_path / 'out'
    run_and_kill(lambda progress: convert_conic(src, out, 5, progress), kill_at=12)
    assert not out.exists()
    with pytest.raises(FileExistsError, match='other settings, folds=5, now 4'):
        convert_conic(src, out, 4, Progress(disable=True))
    assert not out.exists()
    summary, _ = convert_conic(src, out, 5, Progress(disable=True))
    assert sum(summary.images.values()) == 20
    for name in [*ARRAYS, 'splits/paper.json', 'splits/fold_5_of_5.json']:
        assert (out / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()


def damage_label(src, index, value):
    labels = np.load(src / 'labels.npy')
    labels = labels.astype(np.int32)
    labels[index] = value
    np.save(src / 'labels.npy', labels)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(('damage', 'expected'), [
    (lambda src: (src / 'images.npy').unlink(), 'images.npy: no such file'),
    (lambda src: (src / 'labels.npy').unlink(), 'labels.npy: no such file'),
    (lambda src: (src / 'patch_info.csv').unlink(), 'patch_info.csv: no such file'),
    (lambda src: truncate(src / 'labels.npy'), 'labels.npy: not a complete .npy file'),
    (lambda src: truncate(src / 'images.npy'), 'images.npy: not a complete .npy file'),
    (lambda src: np.save(src / 'labels.npy', np.zeros((20, 9, 8, 2), np.uint16)),
     'labels.npy: shape (20, 9, 8, 2) does not match images.npy'),
    (lambda src: np.save(src / 'images.npy', np.zeros((20, 8, 8, 3))),
     'images.npy: float64 (20, 8, 8, 3); expected uint8'),
    (lambda src: damage_label(src, (7, 1, 1, 1), 7),
     'labels.npy[7] (consep_6-0001): class id 7 (instance 1) is outside'),
    (lambda src: damage_label(src, (3, 1, 1, 1), 3),
     'labels.npy[3] (consep_3-0001): instance 1 has the classes [2, 3]'),
    (lambda src: damage_label(src, (9, ..., 1), -1),
     'labels.npy[9] (consep_12-0001): class id -1'),
    (lambda src: damage_label(src, (3, slice(1, 3), slice(1, 5), 0), 70000),
     'labels.npy[3] (consep_3-0001): instance id 70000'),
])
def test_bad_input_is_named_and_nothing_appears(src, out, run, damage, expected):
    damage(src)
    with pytest.raises(SystemExit, match=re.escape(expected)):
        run(src, out)
    assert not out.exists()


def test_existing_folder_is_kept(src, out, run):
    out.mkdir()
    with pytest.raises(SystemExit, match='out: exists already'):
        run(src, out)
    assert list(out.iterdir()) == []
