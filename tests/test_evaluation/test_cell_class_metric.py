# Copyright (c) CellVTA-MMSeg contributors.
import math

import pytest
from mmengine.evaluator import Evaluator

from mmseg_cellvta.evaluation import CellClassMetric


def test_figures_of_batches_are_pooled():
    evaluator = Evaluator(CellClassMetric())
    evaluator.dataset_meta = dict(classes=('background', 'round', 'long', 'rare'))
    for pairs in ([(1, 1), (1, 2)], [(2, 2)]):
        evaluator.process([dict(gt_label=t, pred_label=p) for t, p in pairs])
    metrics = evaluator.evaluate(3)
    assert math.isnan(metrics.pop('cell/F1_rare'))
    assert metrics == pytest.approx({
        'cell/macro_F1': 2 / 3, 'cell/accuracy': 2 / 3, 'cell/F1_round': 2 / 3,
        'cell/F1_long': 2 / 3})
