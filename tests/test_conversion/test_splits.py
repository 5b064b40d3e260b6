# Copyright (c) CellVTA-MMSeg contributors.
import json
import zlib

import numpy as np
import pytest
from conic_files import COHORTS, TEST_SOURCES, TRAIN_SOURCES, names_of
from sklearn.model_selection import StratifiedShuffleSplit

from mmseg_cellvta.conversion.splits import GroupSplit, make_splits

CONIC_SOURCES = [
    name.split('-')[0] for name in names_of(TEST_SOURCES | TRAIN_SOURCES)]
NAMES = [f'patient{i // 5}_{i}' for i in range(100)]


def test_shares_are_met_and_repeatable():
    parts = GroupSplit(0.1, 0.2).assign(NAMES)
    assert [parts.count(part) for part in ('train', 'val', 'test')] == [70, 10, 20]
    assert parts == GroupSplit(0.1, 0.2).assign(NAMES)
    assert parts[:7] == ['test', 'train', 'train', 'train', 'train', 'test', 'test']


def test_order_of_the_names_makes_no_difference():
    parts = dict(zip(NAMES, GroupSplit(0.1, 0.2).assign(NAMES), strict=True))
    again = GroupSplit(0.1, 0.2).assign(NAMES[::-1])
    assert again == [parts[name] for name in NAMES[::-1]]


def test_groups_are_never_divided():
    parts = GroupSplit(0.25, 0.25, r'patient(\d+)_').assign(NAMES)
    assert [len(set(five)) for five in np.reshape(parts, (20, 5))] == [1] * 20
    assert [parts.count(part) for part in ('train', 'val', 'test')] == [50, 25, 25]


def test_small_shares_take_one_and_no_share_takes_none():
    parts = GroupSplit(0.01, 0).assign(NAMES[:4])
    assert sorted(parts) == ['train', 'train', 'train', 'val']


def test_too_few_images_are_named():
    with pytest.raises(ValueError, match='2 images or groups, of which 1 should '
                       'validate and 1 test'):
        GroupSplit(0.1, 0.1).assign(['a', 'b'])


@pytest.mark.parametrize(('settings', 'message'), [
    ((0.5, 0.5), 'shares of 0.5 and 0.5'), ((-0.1, 0.5), 'shares of -0.1'),
    ((0.1, 0.1, '('), r'--group \('), ((0.1, 0.1, 'patient'), 'expected round')])
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GroupSplit(*settings)


def test_name_without_group_is_named():
    with pytest.raises(ValueError, match='slide_7: --group'):
        GroupSplit(0.1, 0.1, r'patient(\d+)').assign([*NAMES, 'slide_7'])


def test_challenge_split_is_that_of_the_baseline():
    splits, _ = make_splits(CONIC_SOURCES, 5)
    names = np.unique(CONIC_SOURCES)
    _, cohorts = np.unique([name.split('_')[0] for name in names], return_inverse=True)
    splitter = StratifiedShuffleSplit(
        n_splits=10, train_size=0.8, test_size=0.2, random_state=5)
    _, test = list(splitter.split(names, cohorts))[0]
    assert set(splits['challenge.json']) == set(names[test])
    assert len(test) == 49  # of 241
    assert splits['challenge.json'].items() <= (TEST_SOURCES | TRAIN_SOURCES).items()


@pytest.mark.parametrize('num_folds', [2, 5, 10])
def test_folds_divide_the_sources_evenly_and_repeatably(num_folds):
    splits, _ = make_splits(CONIC_SOURCES, num_folds)
    assert make_splits(CONIC_SOURCES, num_folds)[0] == splits
    folds = [splits[f'fold_{k}_of_{num_folds}.json'] for k in range(1, num_folds + 1)]
    assert sorted(name for fold in folds for name in fold) == sorted(set(CONIC_SOURCES))
    for fold in folds:
        assert sum(fold.values()) == pytest.approx(4981 / num_folds, rel=0.05)
        assert {name.split('_')[0] for name in fold} == set(COHORTS)


def test_folds_are_the_same_with_every_version_of_scikit_learn():
    splits, _ = make_splits(CONIC_SOURCES, 5)
    folds = [list(splits[f'fold_{k}_of_5.json']) for k in range(1, 6)]
    assert [len(fold) for fold in folds] == [45, 49, 50, 49, 48]
    assert zlib.crc32(json.dumps(folds).encode()) == 2996344658
