# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.conversion.splits import GroupSplit

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


def test_too_few_pictures_are_named():
    with pytest.raises(ValueError, match='2 pictures or groups, of which 1 should '
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
