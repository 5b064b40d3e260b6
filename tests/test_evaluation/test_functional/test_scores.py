# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.evaluation.functional import (
    Overlaps,
    class_panoptic_quality,
    panoptic_quality,
)


def disc_map(*discs: tuple[int, int, int]) -> np.ndarray:
    """(96, 96) map with the discs (x, y, radius) as instances 1, 2, ..."""
    rows, cols = np.mgrid[:96, :96]
    inst_map = np.zeros((96, 96), np.int32)
    for number, (x, y, radius) in enumerate(discs, 1):
        inst_map[(cols - x)**2 + (rows - y)**2 <= radius**2] = number
    return inst_map


def disc_iou(shift: int, radius: int) -> float:
    """IoU of a pixel disc with itself shifted, counted from its row widths."""
    heights = np.arange(-radius, radius + 1)
    widths = 2 * np.floor(np.sqrt(radius**2 - heights**2)) + 1
    shared = np.maximum(widths - shift, 0).sum()
    return shared / (2 * widths.sum() - shared)


def test_shifted_discs_give_known_counts_and_iou():
    true = disc_map((20, 20, 10), (60, 20, 10), (20, 60, 10))
    pred = disc_map((22, 20, 10), (60, 70, 10), (20, 60, 10))
    score = panoptic_quality(true, pred)
    assert (score.tp, score.fp, score.fn) == (2, 1, 1)
    assert score.iou_sum == pytest.approx(1 + disc_iou(2, 10))
    assert score.dq == pytest.approx(2 / 3, abs=1e-6)
    assert score.sq == pytest.approx((1 + disc_iou(2, 10)) / 2, abs=1e-6)
    assert score.pq == score.dq * score.sq


def test_iou_of_exactly_one_half_is_no_match():
    score = panoptic_quality(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
    assert (score.tp, score.fp, score.fn) == (0, 1, 1)


def test_ids_need_not_be_contiguous():
    true, pred = disc_map((20, 20, 10), (60, 20, 10)), disc_map((21, 20, 10))
    renamed = np.array([0, 70000, 3])[true]
    assert panoptic_quality(renamed, pred * 999) == panoptic_quality(true, pred)


def test_equal_maps_score_one_but_for_the_epsilon():
    true = disc_map((20, 20, 10))
    assert panoptic_quality(true, true).pq == pytest.approx(1 / (1 + 1e-6)**2)


@pytest.mark.parametrize('discs_true, discs_pred, counts', [
    ([], [], (0, 0, 0)),
    ([], [(20, 20, 10)], (0, 1, 0)),
    ([(20, 20, 10)], [], (0, 0, 1)),
])
def test_empty_maps_score_zero(discs_true, discs_pred, counts):
    score = panoptic_quality(disc_map(*discs_true), disc_map(*discs_pred))
    assert (score.tp, score.fp, score.fn) == counts
    assert score.dq == score.sq == score.pq == 0


def test_higher_match_iou_drops_pairs():
    true, pred = disc_map((20, 20, 10)), disc_map((22, 20, 10))
    assert 0.75 < disc_iou(2, 10) < 0.8
    assert panoptic_quality(true, pred, match_iou=0.75).tp == 1
    assert panoptic_quality(true, pred, match_iou=0.8).tp == 0


def test_low_match_iou_pairs_each_instance_at_most_once():
    # IoU of (true, pred): (1, 1) 4/10, (1, 2) 3/7, (2, 1) 3/8, all above 0.3.
    true = np.array([[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]])
    pred = np.array([[2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0]])
    assert panoptic_quality(true, pred).tp == 0
    score = panoptic_quality(true, pred, match_iou=0.3)
    assert (score.tp, score.fp, score.fn) == (2, 0, 0)
    assert score.iou_sum == pytest.approx(3 / 7 + 3 / 8)


@pytest.mark.parametrize('match_iou', [-0.1, 1.0, 50])
def test_match_iou_outside_its_range_is_refused(match_iou):
    with pytest.raises(ValueError, match=r'expected a fraction in \[0, 1\)'):
        panoptic_quality(np.zeros((2, 2), int), np.zeros((2, 2), int), match_iou)


def test_class_scores_equal_those_of_maps_of_one_class():
    rng = np.random.default_rng(0)
    discs = [(x, y, 7) for x in range(10, 90, 18) for y in range(10, 90, 18)]
    true = disc_map(*discs)
    pred = disc_map(*[(x + rng.integers(0, 4), y, r) for x, y, r in discs[3:]])
    true_classes = rng.integers(1, 4, len(discs))
    pred_classes = np.where(rng.random(len(discs) - 3) < 0.7, true_classes[3:], 1)
    result = class_panoptic_quality(
        Overlaps.from_maps(true, pred), true_classes, pred_classes, num_classes=5)
    for index in range(4):
        alone = panoptic_quality(
            true * np.isin(true, np.flatnonzero(true_classes == index + 1) + 1),
            pred * np.isin(pred, np.flatnonzero(pred_classes == index + 1) + 1))
        assert (result.tp[index], result.fp[index], result.fn[index]) == (
            alone.tp, alone.fp, alone.fn)
        assert result.iou_sum[index] == pytest.approx(alone.iou_sum)
    assert result.tp[:3].min() > 0 and result.fp[0] > 0 and result.pq[3] == 0
