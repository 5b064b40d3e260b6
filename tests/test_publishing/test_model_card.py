# Copyright (c) CellVTA-MMSeg contributors.
import pytest

from mmseg_cellvta.publishing.model_card import full_name


@pytest.mark.parametrize(('metric', 'expected'), [
    ('cell/mPQ', 'panoptic quality (mPQ): mean over classes, then over images'),
    ('mPQ_tissue', 'panoptic quality, mean over tissues'),
    ('cell/PQ_conic', 'panoptic quality as in the CoNIC challenge, empty images count '
     '0'),
    ('cell/PQ_plasma cell', 'panoptic quality of plasma cell'),
    ('cell/F1_det', 'F1 score of detection'),
    ('cell/F1_red', 'F1 score of red'),
    ('other/unknown', 'unknown')])
def test_metrics_have_full_names(metric, expected):
    assert full_name(metric) == expected
