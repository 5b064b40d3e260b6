# Copyright (c) CellVTA-MMSeg contributors.
import json
import re

import numpy as np
import pytest
from conic_files import TEST_SOURCES, TRAIN_SOURCES, write_conic
from rich.progress import Progress

from mmseg_cellvta.conversion.conic import convert_conic
from mmseg_cellvta.datasets import CoNICDataset

ARRAYS = ('images.npy', 'labels.npy', 'patch_info.csv')


@pytest.fixture
def src(tmp_path):
    return write_conic(tmp_path / 'src')


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def convert(src, out, num_folds=5):
    return convert_conic(src, out, num_folds, Progress(disable=True))


def split_names(root, split, **kwargs):
    dataset = CoNICDataset(data_root=str(root), split=split, validate_labels=False,
                           lazy_init=True, **kwargs)
    return [entry['sample_name'] for entry in dataset.load_data_list()]


def sources_in(names):
    return {name.split('-')[0] for name in names}


def test_copy_is_what_was_there(src, out):
    summary, _ = convert(src, out)
    for name in ARRAYS:
        assert (out / name).read_bytes() == (src / name).read_bytes()
    assert summary.images == dict(train=18, test=2) and summary.empty['train'] == 1
    assert summary.nuclei['train'].tolist() == [0, 17, 0, 0, 0, 17]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*ARRAYS, 'conversion.json', 'splits'])
    assert len(CoNICDataset(data_root=str(out), sources_file='splits/paper.json',
                            split='test')) == 2


def test_the_real_names_split_into_991_and_3990_and_no_source_is_on_both_sides(
        tmp_path, out):
    src = write_conic(tmp_path / 'src', TEST_SOURCES | TRAIN_SOURCES)
    _, remarks = convert(src, out)
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


def test_other_names_than_those_of_the_paper_are_said(tmp_path, out):
    sources = {source: 36 for source in list(TEST_SOURCES)[6:10]}  # crag
    src = write_conic(tmp_path / 'src', sources | dict(consep_2=3, consep_400=4))
    _, (remark, ) = convert(src, out, 3)
    assert remark.startswith(
        'splits/paper.json is not the test part of the paper: it has 147 of 991 '
        'patches, because 47 of 51 source images differ, the first is consep_12 (0 '
        'patches instead of 4)')
    content = json.loads((out / 'splits/paper.json').read_text())
    assert content == dict(n_patches=147, sources=sources | dict(consep_2=3))


def test_too_few_sources_for_the_challenge_are_said(tmp_path, out):
    _, remarks = convert(write_conic(tmp_path / 'src', dict(a_1=3, b_1=4)), out, 2)
    assert remarks[1].startswith('splits/challenge.json is left out: 2 source')
    assert not (out / 'splits/challenge.json').exists()
    assert CoNICDataset(data_root=str(out), sources_file='splits/fold_1_of_2.json',
                        split='test')


@pytest.mark.parametrize('folds', [0, 1, 11])
def test_impossible_folds_are_refused_before_anything_is_written(src, out, folds):
    with pytest.raises(ValueError, match=f'{folds} folds: expected 2 to 10'):
        convert(src, out, folds)
    assert not out.with_name('out.part').exists()


def damage_label(src, index, value):
    labels = np.load(src / 'labels.npy').astype(np.int32)
    labels[index] = value
    np.save(src / 'labels.npy', labels)


@pytest.mark.parametrize(('damage', 'error', 'expected'), [
    (lambda src: (src / 'labels.npy').unlink(), OSError, 'labels.npy: no such file'),
    (lambda src: (src / 'patch_info.csv').unlink(), OSError,
     'patch_info.csv: no such file'),
    (lambda src: np.save(src / 'labels.npy', np.zeros((20, 9, 8, 2), np.uint16)),
     ValueError, 'labels.npy: shape (20, 9, 8, 2) does not match images.npy'),
    (lambda src: np.save(src / 'images.npy', np.zeros((20, 8, 8, 3))),
     ValueError, 'images.npy: float64 (20, 8, 8, 3); expected uint8'),
    (lambda src: damage_label(src, (7, 1, 1, 1), 7), ValueError,
     'labels.npy[7] (consep_6-0001): class id 7 (instance 1) is outside'),
    (lambda src: damage_label(src, (3, slice(1, 3), slice(1, 5), 0), 70000), ValueError,
     'labels.npy[3] (consep_3-0001): instance id 70000'),
])
def test_bad_input_is_named_and_nothing_appears(src, out, damage, error, expected):
    damage(src)
    with pytest.raises(error, match=re.escape(expected)):
        convert(src, out)
    assert not out.exists()


def test_other_folds_do_not_go_on(src, out):
    damage_label(src, (7, 1, 1, 1), 7)
    with pytest.raises(ValueError, match='class id 7'):
        convert(src, out)
    with pytest.raises(FileExistsError, match='other settings, folds=5, now 4'):
        convert(src, out, 4)
