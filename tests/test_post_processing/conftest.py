# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.datasets.transforms.hv_target import hv_target


@pytest.fixture
def draw_discs():
    """Function: discs (x, y, radius) px -> (H, W) int32 map. A pixel under several
    discs goes to the nearest centre."""
    def draw(shape, discs):
        rows, cols = np.indices(shape)
        distances = np.stack([np.hypot(cols - x, rows - y) for x, y, _ in discs])
        covered = distances <= np.array([radius for *_, radius in discs])[:, None, None]
        nearest = np.where(covered, distances, np.inf).argmin(axis=0) + 1
        return np.where(covered.any(axis=0), nearest, 0).astype(np.int32)
    return draw


@pytest.fixture
def perfect_maps():
    """Function: the np, hv and nc maps that are right for nuclei 1..N, whose classes
    are `class_ids` (N,)."""
    def make(inst_map, class_ids, num_classes):
        class_map = np.concatenate([[0], class_ids]).astype(int)[inst_map]
        np_map = np.stack([inst_map == 0, inst_map > 0]).astype(np.float32)
        nc_map = np.full(
            (num_classes, *inst_map.shape), 0.3 / (num_classes - 1), np.float32)
        np.put_along_axis(nc_map, class_map[None], 0.7, axis=0)
        return np_map, hv_target(inst_map), nc_map
    return make
