# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

from mmseg_cellvta.datasets.transforms.hv_target import hv_target
from mmseg_cellvta.post_processing import instance_map as module
from mmseg_cellvta.post_processing.instance_map import (
    hover_constants,
    merge_fragments,
    renumber,
    segment_instances,
)


@pytest.mark.parametrize(('mpp', 'expected'), [
    (0.25, (21, 10, 10)),  # the released 40x column
    (0.5, (11, 3, 10)),  # the released 20x column
    (0.325, (17, 6, 10)),
    (1.0, (5, 1, 3)),
    (4.0, (3, 1, 1)),
    (0.125, (31, 40, 40))])
def test_constants_follow_resolution(mpp, expected):
    assert hover_constants(mpp)[:3] == expected


@pytest.mark.parametrize(('mpp', 'expected'), [
    (0.125, (17, 5, 320, 4)), (0.25, (9, 3, 80, 2)), (0.5, (5, 3, 20, 1))])
def test_constants_of_rising_markers_follow_resolution(mpp, expected):
    constants = hover_constants(mpp, 'rising')
    assert (constants.sobel_ksize, constants.opening_side,
            constants.min_unmarked_area, constants.border_reach) == expected


@pytest.mark.parametrize('mpp', [0.25, 0.5])
def test_isolated_discs_are_recovered_exactly(mpp, draw_discs, perfect_maps):
    true = draw_discs((96, 128), [(20, 20, 9), (70, 30, 13), (100, 75, 11)])
    np_map, hv_map, _ = perfect_maps(true, [1, 1, 1], 2)
    pred = segment_instances(np_map, hv_map, hover_constants(mpp))
    assert pred.dtype == np.int32
    np.testing.assert_array_equal(pred, true)


def test_touching_discs_are_split_where_their_hv_maps_jump(draw_discs, perfect_maps):
    true = draw_discs((64, 96), [(30, 32, 14), (54, 32, 14)])
    np_map, hv_map, _ = perfect_maps(true, [1, 1], 2)
    pred = segment_instances(np_map, hv_map, hover_constants(0.25))
    assert pred.max() == 2
    np.testing.assert_array_equal(pred > 0, true > 0)
    for inst_id in (1, 2):
        overlap = (pred == inst_id) & (true == inst_id)
        assert overlap.sum() > 0.97 * ((pred == inst_id) | (true == inst_id)).sum()


def test_blobs_below_the_minimum_area_vanish(draw_discs, perfect_maps):
    true = draw_discs((64, 64), [(30, 30, 10)])
    np_map, hv_map, _ = perfect_maps(true, [1], 2)
    np_map[:, 2, 2:11] = [[0], [1]]
    pred = segment_instances(np_map, hv_map, hover_constants(0.25))
    np.testing.assert_array_equal(pred, true)


@pytest.mark.filterwarnings('error')  # such as a division by 0
@pytest.mark.parametrize(('nucleus', 'spread'), [(0.5, 1), (1, 0)])
def test_undecided_pixels_and_constant_hv_maps_give_no_nucleus(nucleus, spread):
    np_map = np.stack([np.full((32, 32), 1 - nucleus), np.full((32, 32), nucleus)])
    hv_map = 0.3 + spread * np.random.default_rng(0).normal(size=(2, 32, 32))
    assert not segment_instances(np_map, hv_map, hover_constants(0.25)).any()


def test_single_nucleus_may_fill_the_map(perfect_maps):
    true = np.ones((48, 64), dtype=np.int32)
    pred = segment_instances(*perfect_maps(true, [1], 2)[:2], hover_constants(0.25))
    np.testing.assert_array_equal(pred, true)


def test_a_hole_in_a_nucleus_stays_background(draw_discs, perfect_maps):
    true = draw_discs((64, 64), [(32, 32, 20)])
    np_map, hv_map, _ = perfect_maps(true, [1], 2)
    np_map[:, 28:36, 28:36] = [[[1]], [[0]]]
    true[28:36, 28:36] = 0
    pred = segment_instances(np_map, hv_map, hover_constants(0.25))
    np.testing.assert_array_equal(pred, true)


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (7, 3), (16, 250)])
def test_any_map_size_is_accepted(shape):
    np_map = np.stack([np.zeros(shape), np.ones(shape)])
    hv_map = np.random.default_rng(0).normal(size=(2, *shape))
    assert segment_instances(np_map, hv_map, hover_constants(0.25)).shape == shape


@pytest.mark.parametrize('seed', range(4))
def test_shortcuts_equal_the_watershed_of_everything(seed):
    """Blobs of one marker and the inside of markers need no flooding."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(size=(128, 96)), (0, 0), 3)
    depth = cv2.GaussianBlur(rng.normal(size=(128, 96)), (0, 0), 2).astype(np.float32)
    mask = smooth > 0
    blobs = ndimage.label(mask)[0].astype(np.int32)
    markers = ndimage.label(mask & (depth < -0.1))[0].astype(np.int32)
    assert markers.max() > 20
    np.testing.assert_array_equal(
        module._flood(depth, blobs, markers, np.zeros(blobs.max() + 1, bool)),
        watershed(depth, markers, mask=mask))


def test_marker_without_foreground_leaves_no_gap_in_the_ids():
    blobs = np.array([[1, 1, 0, 0, 2, 2]], dtype=np.int32)
    markers = np.array([[1, 0, 0, 0, 3, 0]], dtype=np.int32)  # 2 lay in a hole
    depth = np.zeros((1, 6), dtype=np.float32)
    inst_map = module._flood(depth, blobs, markers, lone=np.zeros(3, dtype=bool))
    assert inst_map.tolist() == [[1, 1, 0, 0, 2, 2]]


def test_holes_are_filled_like_scipy_does():
    mask = np.random.default_rng(0).random((40, 50)) > 0.4
    for case in (mask, np.ones_like(mask), np.zeros_like(mask)):
        np.testing.assert_array_equal(
            module._fill_holes(case), ndimage.binary_fill_holes(case))


def test_components_are_4_connected():
    mask = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]], dtype=bool)
    labels, areas = module._label(mask, 1)
    assert labels.max() == 2 and areas.tolist() == [4, 1, 4]
    labels, areas = module._label(mask, 2)
    assert labels.tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert areas.tolist() == [4, 4]


def test_renumber_closes_gaps():
    inst_map = np.array([[0, 1, 2], [3, 3, 0]], dtype=np.int32)
    pred = renumber(inst_map, np.array([True, False, True]))
    assert pred.tolist() == [[0, 1, 0], [2, 2, 0]] and pred.dtype == np.int32
    assert renumber(inst_map, np.ones(3, dtype=bool)) is inst_map


def spindle(width):
    """NP and HV maps of one horizontal nucleus, 30 px long, in 40 x 40 px."""
    inst_map = np.zeros((40, 40), dtype=np.int32)
    inst_map[10:10 + width, 5:35] = 1
    return np.stack([inst_map == 0, inst_map == 1]).astype(np.float32), hv_target(
        inst_map), inst_map


def test_a_nucleus_too_thin_for_a_marker_is_found_all_the_same():
    np_map, hv_map, inst_map = spindle(width=4)  # the opening's disc measures 5 px
    released = segment_instances(np_map, hv_map, hover_constants(0.5))
    assert not released.any()
    found = segment_instances(np_map, hv_map, hover_constants(0.5, 'rising'))
    np.testing.assert_array_equal(found, inst_map)


def test_unmarked_foreground_counts_from_five_square_micrometres_on():
    # 20 px at 0.5 um/px
    for area, expected in ((19, 0), (20, 1)):
        np_map = np.zeros((2, 16, 16))
        np_map[0] = 1
        np_map[:, 5, :10] = np_map[:, 6, :area - 10] = [[0], [1]]
        found = segment_instances(np_map, np.zeros((2, 16, 16)),
                                  hover_constants(0.5, 'rising'))
        assert found.max() == expected


def test_adopted_nuclei_continue_the_ids():
    np_map, hv_map, _ = spindle(width=12)
    np_map[:, 30:34, 5:35] = [[[0]], [[1]]]
    found = segment_instances(np_map, hv_map, hover_constants(0.5, 'rising'))
    assert np.unique(found).tolist() == [0, 1, 2]
    assert (found[30:34, 5:35] == 2).all()


def test_rising_markers_do_not_depend_on_the_rest_of_the_map():
    np_map, hv_map, _ = spindle(width=12)
    constants = hover_constants(0.25, 'rising')
    alone = segment_instances(np_map, hv_map, constants)
    disturbed = hv_map.copy()
    disturbed[:, 36:38, 36:38] = 50 * np.array([[1, -1], [-1, 1]])  # in the background
    np.testing.assert_array_equal(
        segment_instances(np_map, disturbed, constants)[:30], alone[:30])


def test_borders_of_rising_nuclei_do_not_depend_on_steeper_ones_elsewhere():
    inst_map = np.zeros((60, 140), dtype=np.int32)
    centres = [(x + x % 3, y) for y in range(6, 50, 11) for x in range(6, 90, 10)]
    for inst_id, centre in enumerate(centres, start=1):
        cv2.circle(inst_map, centre, 6, inst_id, -1)
    inst_map[8:30, 110:120], inst_map[8:30, 120:130] = 98, 99
    np_map = np.stack([inst_map == 0, inst_map > 0]).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.5, (2, 60, 140))
    hv_map = hv_target(inst_map) + noise.astype(np.float32)
    steeper = hv_map * np.where(np.arange(140) < 100, 1, 10).astype(np.float32)
    constants = hover_constants(0.5, 'rising')
    found, same = (
        segment_instances(np_map, hv, constants)[:, :100] for hv in (hv_map, steeper))
    np.testing.assert_array_equal(found, same)


def test_rising_markers_split_touching_nuclei():
    inst_map = np.zeros((40, 40), dtype=np.int32)
    inst_map[12:26, 4:18], inst_map[12:26, 18:32] = 1, 2
    np_map = np.stack([inst_map == 0, inst_map > 0]).astype(np.float32)
    constants = hover_constants(0.5, 'rising')
    found = segment_instances(np_map, hv_target(inst_map), constants)
    # The target's own slope is flat for one pixel at the border between them.
    assert (found == inst_map).mean() > 0.99 and found.max() == 2


@pytest.mark.parametrize('markers', ['hovernet', 'rising'])
@pytest.mark.parametrize(('min_confidence', 'kept'), [
    (0.0, [1, 2, 3]), (0.69, [1, 2, 3]), (0.71, [1, 3]), (0.91, [])])
def test_uncertain_nuclei_are_dropped(
        draw_discs, perfect_maps, markers, min_confidence, kept):
    true = draw_discs((64, 128), [(20, 30, 12), (60, 30, 12), (100, 30, 12)])
    _, hv_map, _ = perfect_maps(true, [1, 1, 1], 2)
    # The mean decides: half of the third nucleus is as uncertain as the second.
    probability = np.array([0.2, 0.9, 0.7, 0.9])[true]
    probability[30:][true[30:] == 3] = 0.6
    found = segment_instances(np.stack([1 - probability, probability]), hv_map,
                              hover_constants(0.25, markers, min_confidence))
    ids = np.zeros(4, dtype=int)
    ids[kept] = range(1, len(kept) + 1)
    np.testing.assert_array_equal(found, ids[true])


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
    monkeypatch.setattr(module, 'MIN_RISE', -1)
    assert merge_fragments(true, hv_target(true), 2).max() == 1


def test_parts_narrower_than_the_reach_and_the_rim_of_the_map_are_read_inside():
    true = np.ones((30, 12), np.int32)
    split = true.copy()
    split[:, 10:] = 2
    hv_map = np.zeros((2, 30, 12), np.float32)
    hv_map[0] = np.linspace(-1, 1, 12)
    np.testing.assert_array_equal(merge_fragments(split, hv_map, 5), true)
    apart = hv_map.copy()
    apart[0, :, 10:] -= 1.5
    np.testing.assert_array_equal(merge_fragments(split, apart, 5), split)


def test_parts_over_whose_border_the_map_falls_stay_apart():
    split = np.ones((6, 12), np.int32)
    split[:, 6:] = 2
    hv_map = np.zeros((2, 6, 12))
    hv_map[0] = [-1, -1, -1, -1, -1, 1, -1, 1, 1, 1, 1, 1]  # the means rise
    np.testing.assert_array_equal(merge_fragments(split, hv_map, 0), split)


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
