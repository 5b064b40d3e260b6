# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_cellvta.evaluation.functional import (
    Overlaps,
    aggregated_jaccard,
    aggregated_jaccard_plus,
    binary_dice,
    ensemble_dice,
    panoptic_quality,
)

DATA = Path(__file__).resolve().parents[4] / 'shared' / 'data'
ALL_SCORES = [binary_dice, ensemble_dice, aggregated_jaccard, aggregated_jaccard_plus]

# True 1 (4 px) meets 2 of 4 px of pred 1 and 1 of 1 px of pred 2; pred 3 is alone, and
# true 2 (2 px) meets 2 of 4 px of pred 1.
TRUE = np.array([[1, 1, 1, 1, 2, 2, 0, 0, 0]])
PRED = np.array([[0, 2, 1, 1, 1, 1, 0, 3, 3]])


def test_scores_of_a_literal_row():
    overlaps = Overlaps.from_maps(TRUE, PRED)
    assert binary_dice(overlaps) == pytest.approx(2 * 5 / (6 + 7))
    assert ensemble_dice(overlaps) == pytest.approx(2 * (2 + 1 + 2) / (8 + 5 + 6))
    # Both trues take pred 1: unions 6 and 4; preds 2 and 3 are left (1 + 2 px).
    assert aggregated_jaccard(overlaps) == pytest.approx((2 + 2) / (6 + 4 + 1 + 2))
    # One to one: true 1 with pred 2 (union 4), true 2 with pred 1 (union 4).
    assert aggregated_jaccard_plus(overlaps) == pytest.approx((1 + 2) / (4 + 4 + 2))


@pytest.mark.parametrize('score', ALL_SCORES)
def test_equal_maps_score_one(score):
    assert score(Overlaps.from_maps(TRUE, TRUE)) == 1


@pytest.mark.parametrize('score', ALL_SCORES)
def test_missing_everything_scores_zero(score):
    assert score(Overlaps.from_maps(TRUE, 0 * TRUE)) == 0


@pytest.mark.parametrize('score', ALL_SCORES)
@pytest.mark.parametrize('pred', [PRED, 0 * PRED])
def test_without_true_instances_the_score_is_undefined(score, pred):
    assert np.isnan(score(Overlaps.from_maps(0 * TRUE, pred)))


def read_ids(name: str) -> np.ndarray:
    folder = DATA / 'ref_hovernet_metrics'
    if not folder.is_dir():
        pytest.skip(f'{folder} is not there')
    return cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize('true, pred, dice2, aji, aji_plus, pq', [
    ('true.png', 'pred_1.png', 0.6477, 0.4790, 0.6375, 0.6803),
    ('true.png', 'pred_2.png', 0.9007, 0.6414, 0.6414, 0.6863),
    ('aji_true.png', 'aji_pred.png', 0.4912, 0.5102, 0.6130, 0.6287),
    ('dice_true.png', 'dice_pred_1.png', 0.3255, 0.8866, None, 0.8809),
    ('dice_true.png', 'dice_pred_2.png', 0.6021, 0.6718, None, 0.5185),
])
def test_scores_of_hovernets_samples_are_as_published(
        true, pred, dice2, aji, aji_plus, pq):
    true, pred = read_ids(true), read_ids(pred)
    overlaps = Overlaps.from_maps(true, pred)
    assert ensemble_dice(overlaps) == pytest.approx(dice2, abs=5e-5)
    assert aggregated_jaccard(overlaps) == pytest.approx(aji, abs=5e-5)
    if aji_plus is not None:
        assert aggregated_jaccard_plus(overlaps) == pytest.approx(aji_plus, abs=5e-5)
    assert panoptic_quality(true, pred).pq == pytest.approx(pq, abs=5e-5)


def test_scores_of_cellseg_models_toy_maps_are_as_published():
    path = DATA / 'ref_toy_arrays' / 'cellseg_models_instance_metrics.npz'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    maps = np.load(path)
    overlaps = Overlaps.from_maps(maps['true'], maps['pred'])
    score = panoptic_quality(maps['true'], maps['pred'])
    assert (score.tp, score.fp, score.fn) == (3, 2, 1)
    assert score.pq == pytest.approx(0.5128, abs=5e-5)
    assert ensemble_dice(overlaps) == pytest.approx(0.6463, abs=5e-5)
    assert aggregated_jaccard(overlaps) == pytest.approx(0.5310, abs=5e-5)
