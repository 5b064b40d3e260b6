# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np

from mmseg_cellvta.evaluation.functional import class_f1


def test_f1_of_each_class():
    true = np.array([1, 1, 1, 2, 2, 3])
    pred = np.array([1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(class_f1(true, pred, 4), [4 / 5, 4 / 6, 0])


def test_a_class_that_never_occurs_has_no_f1():
    scores = class_f1(np.array([1, 1]), np.array([1, 1]), 3)
    assert scores[0] == 1 and np.isnan(scores[1])
