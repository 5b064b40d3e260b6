# Copyright (c) CellVTA-MMSeg contributors.
"""Nuclei that were cut on purpose, with the HV maps of whole ones."""
import numpy as np
import pytest

from mmseg_cellvta.datasets.transforms.hv_target import hv_target
from mmseg_cellvta.post_processing import instance_map as fragments
from mmseg_cellvta.post_processing import instance_map as module
from mmseg_cellvta.post_processing.instance_map import (
    hover_constants,
    merge_fragments,
    segment_instances,
)


def cut(inst_map, axis, position, part):
    """Give what lies from `position` px on along `axis` (0 rows) the id `part`."""
    beyond = np.indices(inst_map.shape)[axis] >= position
    return np.where(beyond & (inst_map > 0), part, inst_map).astype(np.int32)


@pytest.fixture
def pair(draw_discs):
    """Two discs that touch, side by side."""
    return draw_discs((48, 80), [(26, 24, 13), (49, 24, 13)])


@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('reach', [0, 3])
def test_parts_of_one_nucleus_are_joined(draw_discs, axis, reach):
    true = draw_discs((48, 64), [(30, 24, 14)])
    split = cut(true, axis, 22, part=2)
    assert split.max() == 2
    merged = merge_fragments(split, hv_target(true), reach)
    assert merged.dtype == np.int32
    np.testing.assert_array_equal(merged, true)


@pytest.mark.parametrize('transpose', [False, True])
@pytest.mark.parametrize('reach', [0, 3])
def test_touching_nuclei_stay_apart(pair, transpose, reach):
    pair = np.ascontiguousarray(pair.T) if transpose else pair
    np.testing.assert_array_equal(merge_fragments(pair, hv_target(pair), reach), pair)


def test_only_parts_are_joined_and_ids_stay_without_gaps(pair):
    split = cut(pair, 1, 54, part=3)  # 1 | 2, 3
    merged = merge_fragments(split[::-1, ::-1].copy(), hv_target(pair[::-1, ::-1]), 3)
    np.testing.assert_array_equal(merged, pair[::-1, ::-1])
    # Ids follow the smallest of a group: 2 joins 1, and what was 3 is the second.
    swapped = np.array([0, 3, 1, 2], np.int32)[split]
    merged = merge_fragments(swapped, hv_target(pair), 3)
    np.testing.assert_array_equal(merged, np.array([0, 2, 1])[pair])


def test_three_parts_in_a_row_become_one(draw_discs):
    true = draw_discs((48, 64), [(30, 24, 14)])
    split = cut(cut(true, 1, 26, part=2), 1, 34, part=3)
    np.testing.assert_array_equal(merge_fragments(split, hv_target(true), 2), true)


def test_weak_maps_are_read_by_the_whole_border(pair):
    """A quarter of the true fall separates, of the true rise joins, in noise."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=(2, *pair.shape))
    weak = 0.25 * hv_target(pair) + noise
    np.testing.assert_array_equal(merge_fragments(pair, weak, 3), pair)
    whole = (pair > 0).astype(np.int32)
    weak = 0.25 * hv_target(whole) + noise
    np.testing.assert_array_equal(merge_fragments(pair, weak, 3), whole)


def test_a_crescent_is_not_joined_to_what_it_surrounds(draw_discs, monkeypatch):
    """Its centre lies beside it, so that HV may rise from it to its neighbour."""
    inner = draw_discs((48, 64), [(34, 24, 9)])
    outer = draw_discs((48, 64), [(30, 24, 16)])
    true = np.where(inner, 2, np.where(outer, 1, 0)).astype(np.int32)
    np.testing.assert_array_equal(merge_fragments(true, hv_target(true), 2), true)
    monkeypatch.setattr(fragments, 'MIN_RISE', -1)
    assert merge_fragments(true, hv_target(true), 2).max() == 1


def test_parts_narrower_than_the_reach_and_the_rim_of_the_map_are_read_inside():
    true = np.ones((6, 12), np.int32)
    split = true.copy()
    split[:, 10:] = 2
    hv_map = np.zeros((2, 6, 12), np.float32)
    hv_map[0] = np.linspace(-1, 1, 12)
    np.testing.assert_array_equal(merge_fragments(split, hv_map, 5), true)
    apart = hv_map.copy()
    apart[0, :, 10:] -= 1.5
    np.testing.assert_array_equal(merge_fragments(split, apart, 5), split)


def test_nuclei_without_neighbours_are_handed_back(draw_discs):
    true = draw_discs((40, 64), [(14, 20, 8), (44, 20, 8)])
    assert merge_fragments(true, hv_target(true), 3) is true


def test_a_dent_in_the_map_does_not_split_a_nucleus(draw_discs, monkeypatch):
    true = draw_discs((64, 64), [(32, 32, 20)])
    hv_map = hv_target(true)
    columns = np.arange(64) - 32
    dent = np.abs(columns) <= 6
    hv_map[0][:, dent] = -0.01 * columns[dent] * (true[:, dent] > 0)
    np_map = np.stack([true == 0, true > 0]).astype(np.float32)
    constants = hover_constants(0.25, 'rising')
    np.testing.assert_array_equal(
        segment_instances(np_map, hv_map, constants), true)
    monkeypatch.setattr(module, 'merge_fragments', lambda inst_map, *_: inst_map)
    assert segment_instances(np_map, hv_map, constants).max() == 2
