# Copyright (c) CellVTA-MMSeg contributors.
import pickle

import numpy as np
import pytest

from mmseg_cellvta.evaluation.functional import score_image

TRUE = np.zeros((40, 60), np.int32)
TRUE[5:15, 5:15], TRUE[5:15, 25:35], TRUE[25:35, 5:15] = 3, 8, 1
PRED = np.zeros((40, 60), np.int32)
PRED[5:15, 6:16], PRED[5:15, 25:35], PRED[25:35, 40:50] = 1, 2, 3


def test_one_image_gives_all_counts():
    # Ascending ids of TRUE: 1 (bottom left), 3 (top left), 8 (top middle).
    score = score_image(TRUE, PRED, [1, 1, 2], [1, 1, 2], num_classes=3, radius_px=6)
    assert (score.binary.tp, score.binary.fp, score.binary.fn) == (2, 1, 1)
    assert score.binary.iou_sum == pytest.approx(90 / 110 + 1)
    assert score.per_class.tp.tolist() == [1, 0]
    assert score.per_class.fp.tolist() == [1, 1]
    assert score.per_class.fn.tolist() == [1, 1]
    assert (score.detection.tp, score.detection.fp, score.detection.fn) == (2, 1, 1)
    assert score.class_detection.confused_fp.tolist() == [1, 0]
    assert score.class_detection.confused_fn.tolist() == [0, 1]
    assert score.dice == pytest.approx(2 * 190 / 600)
    assert score.aji == pytest.approx((90 + 100) / (110 + 100 + 100 + 100))


def test_the_record_of_a_thousand_nuclei_is_small():
    grid = np.kron(np.arange(1, 1025).reshape(32, 32), np.ones((4, 4), np.int32))
    classes = np.ones(1024, int)
    score = score_image(grid, grid, classes, classes, num_classes=7, radius_px=2)
    assert score.binary.tp == score.detection.tp == 1024
    assert len(pickle.dumps(score)) < 3000


def test_a_nucleus_without_class_counts_only_without_class():
    score = score_image(TRUE, PRED, [1, 0, 1], [0, 1, 0], num_classes=2, radius_px=6)
    assert (score.binary.tp, score.binary.fn, score.detection.tp) == (2, 1, 2)
    assert score.per_class.fn.tolist() == [1]
    assert score.per_class.tp.tolist() == [1]
    assert score.class_detection.fp.tolist() == [0]


@pytest.mark.parametrize('true_classes, pred_classes, message', [
    ([1, 1], [1, 1, 1], 'true map holds 3 instances'),
    ([1, 1, 1], [1, 1, 3], r'predicted class id 3: expected 0\.\.2'),
    ([1, -1, 1], [1, 1, 1], 'true class id -1'),
])
def test_classes_that_do_not_fit_are_refused(true_classes, pred_classes, message):
    with pytest.raises(ValueError, match=message):
        score_image(TRUE, PRED, true_classes, pred_classes, 3, 6)
