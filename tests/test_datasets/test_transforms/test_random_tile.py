# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS


def test_the_four_tiles_of_an_enlarged_patch_come_equally_often():
    transform = TRANSFORMS.build(dict(type='RandomTile', size=256, stride=224))
    rows, cols = np.indices((480, 480), dtype=np.int32)
    corners = []
    for _ in range(400):
        results = transform(dict(
            img=np.stack([rows, cols, rows], -1), gt_inst_map=rows * 480 + cols,
            seg_fields=['gt_inst_map']))
        row, col = results['img'][0, 0, :2]
        assert results['img_shape'] == results['gt_inst_map'].shape == (256, 256)
        assert results['gt_inst_map'][0, 0] == row * 480 + col
        corners.append((int(row), int(col)))
    corners, counts = np.unique(corners, axis=0, return_counts=True)
    assert corners.tolist() == [[0, 0], [0, 224], [224, 0], [224, 224]]
    assert counts.min() > 60


def test_a_stride_that_leaves_pixels_out_stops_before_training():
    with pytest.raises(ValueError, match='stride=300 px for tiles of 256 px'):
        TRANSFORMS.build(dict(type='RandomTile', size=256, stride=300))
