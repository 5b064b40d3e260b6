# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.evaluation.functional import (
    DetectionScore,
    match_centroids,
    score_detection,
)


def test_pairs_up_to_the_radius_count():
    true = np.array([[0.0, 0], [50, 50], [90, 0]])
    pred = np.array([[90.0, 7], [3, 4], [50, 50]])
    true_index, pred_index = match_centroids(true, pred, radius_px=5)
    assert true_index.tolist() == [0, 1]
    assert pred_index.tolist() == [1, 2]


def test_assignment_is_over_all_nuclei_before_the_radius_applies():
    # (9, 3) and (10, 0) are within the radius. Pairing them leaves (0, 0) to (30, 0):
    # 33.2 px in sum, while (0, 0)-(10, 0) and (9, 3)-(30, 0) make 31.2 px.
    true = np.array([[0.0, 0], [9, 3]])
    pred = np.array([[10.0, 0], [30, 0]])
    assert len(match_centroids(true, pred, radius_px=6)[0]) == 0
    assert len(match_centroids(true[1:], pred, radius_px=6)[0]) == 1


@pytest.mark.parametrize('num_true, num_pred', [(0, 0), (0, 2), (2, 0)])
def test_no_nuclei_give_no_pairs(num_true, num_pred):
    pairs = match_centroids(np.ones((num_true, 2)), np.ones((num_pred, 2)), 6)
    assert [len(index) for index in pairs] == [0, 0]


def test_counts_by_class():
    true_classes = np.array([1, 1, 2, 2, 3])
    pred_classes = np.array([1, 2, 2, 1])
    matches = np.array([0, 1, 2]), np.array([0, 1, 2])
    overall, by_class = score_detection(matches, true_classes, pred_classes, 5)
    assert overall == DetectionScore(tp=3, fp=1, fn=2)
    assert by_class.tp.tolist() == [1, 1, 0, 0]
    assert by_class.confused_fp.tolist() == [0, 1, 0, 0]
    assert by_class.confused_fn.tolist() == [1, 0, 0, 0]
    assert by_class.fp.tolist() == [1, 0, 0, 0]
    assert by_class.fn.tolist() == [0, 1, 1, 0]


def test_a_wrong_class_weighs_twice_a_wrong_detection():
    score = DetectionScore(tp=4, fp=3, fn=2, confused_fp=1, confused_fn=5)
    assert score.precision == 4 / (4 + 2 * 1 + 3)
    assert score.recall == 4 / (4 + 2 * 5 + 2)
    assert score.f1 == 8 / (8 + 2 * 1 + 2 * 5 + 3 + 2)


def test_scores_are_undefined_where_nothing_was_counted():
    assert np.isnan(DetectionScore(tp=0, fp=0, fn=0).f1)
    only_missed = DetectionScore(tp=0, fp=0, fn=3)
    assert only_missed.f1 == only_missed.recall == 0
    assert np.isnan(only_missed.precision)
