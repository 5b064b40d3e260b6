# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from mmseg_cellvta.evaluation.cell_instance_metric import ClassMapping

ROOT = Path(__file__).resolve().parents[2]
MAPS = Config.fromfile(ROOT / 'configs/_base_/class_maps.py')
PRED = 'background', 'tumour', 'healthy', 'dead', 'plasma'
PRED_MAP = dict(
    tumour='epithelial', healthy='epithelial', dead='ignore', plasma='plasma')
TRUE = 'background', 'debris', 'gland', 'immune'
TRUE_MAP = dict(debris='ignore', gland='epithelial', immune='inflammatory')


def test_classes_become_shared_ones_and_the_others_are_left_out():
    mapping = ClassMapping(PRED, TRUE, PRED_MAP, TRUE_MAP)
    assert mapping.names == ['epithelial']  # the truth has no plasma, nor pred immune
    assert mapping.map_pred(np.arange(5)).tolist() == [0, 1, 1, 0, 0]
    assert mapping.map_true(np.arange(4)).tolist() == [0, 0, 1, 0]
    assert mapping.map_pred(np.array([], int)).tolist() == []


@pytest.mark.parametrize(('pred_map', 'true_map', 'message'), [
    (PRED_MAP | dict(tumor='epithelial'), TRUE_MAP,
     r"pred_map: unknown classes \['tumor'\].*each of \['tumour', 'healthy', 'dead'"),
    (PRED_MAP, dict(gland='epithelial'),
     r"true_map: .*missing classes \['debris', 'immune'\]"),
    (PRED_MAP, dict.fromkeys(TRUE_MAP, 'ignore'), 'no class is in both')])
def test_wrong_names_are_listed_with_those_that_exist(pred_map, true_map, message):
    with pytest.raises(ValueError, match=message):
        ClassMapping(PRED, TRUE, pred_map, true_map)


@pytest.mark.parametrize(('dataset', 'name'), [
    ('CoNICDataset', 'conic_map'), ('PanNukeCellDataset', 'pannuke_map'),
    ('CoNSePDataset', 'consep_map')])
def test_the_shipped_maps_name_every_class_of_their_data_sets(dataset, name):
    classes = DATASETS.get(dataset).METAINFO['classes']
    for other in ('conic', 'pannuke', 'consep', 'monusac'):
        other_map = MAPS[f'{other}_map']
        mapping = ClassMapping(
            classes, ['background', *other_map], MAPS[name], other_map)
        assert {'epithelial', 'inflammatory'} <= set(mapping.names) <= {
            'epithelial', 'inflammatory', 'connective'}
