# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np

from mmseg_cellvta.datasets.transforms import GenerateHoverTargets


def test_horizontal_map_comes_first():
    inst_map = np.zeros((9, 9), np.int32)
    inst_map[2:7, 2:7] = 300
    hv_map = GenerateHoverTargets()(dict(gt_inst_map=inst_map))['gt_hv_map']
    assert hv_map.shape == (2, 9, 9) and hv_map.dtype == np.float32
    assert (np.diff(hv_map[0, 4, 2:7]) > 0).all()  # grows along x
    assert (np.diff(hv_map[1, 2:7, 4]) > 0).all()  # grows along y
    assert (hv_map[:, inst_map == 0] == 0).all()
