# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from skimage.measure import regionprops

from mmseg_cellvta.conversion.drawn_nuclei import (
    NUCLEUS_CLASSES,
    draw_nucleus,
    noise_tile,
)


def nuclei_of(class_id, number=20):
    rng = np.random.default_rng(0)
    return [draw_nucleus(rng, class_id, angle=0.3) for _ in range(number)]


@pytest.mark.parametrize('class_id', NUCLEUS_CLASSES)
def test_nucleus_lies_within_its_window(class_id):
    for nucleus in nuclei_of(class_id):
        side = 2 * nucleus.reach + 1
        assert nucleus.mask.shape == nucleus.hematoxylin.shape == (side, side)
        border = np.ones((side, side), bool)
        border[1:-1, 1:-1] = False
        assert not nucleus.mask[border].any()


@pytest.mark.parametrize('class_id', NUCLEUS_CLASSES)
def test_mask_is_where_the_nucleus_covers_half_a_pixel(class_id):
    for nucleus in nuclei_of(class_id):
        np.testing.assert_array_equal(nucleus.mask, nucleus.coverage > 0.5)


def test_epithelial_nuclei_are_largest_and_connective_ones_longest():
    shapes = {k: [regionprops(n.mask.astype(int))[0] for n in nuclei_of(k)]
              for k in NUCLEUS_CLASSES}
    area = {k: np.mean([s.area for s in v]) for k, v in shapes.items()}
    length = {k: np.mean([s.eccentricity for s in v]) for k, v in shapes.items()}
    assert max(area, key=area.get) == 2
    assert max(length, key=length.get) == 6


def test_lymphocytes_are_darker_than_epithelial_nuclei():
    density = {class_id: np.mean([n.hematoxylin[n.mask].mean()
                                  for n in nuclei_of(class_id)]) for class_id in (2, 3)}
    assert density[3] > 1.4 * density[2]


def test_only_granulocytes_and_plasma_cells_show_a_body():
    with_body = [k for k in NUCLEUS_CLASSES if nuclei_of(k, 1)[0].body is not None]
    assert with_body == [1, 4, 5]
    eosin = {k: nuclei_of(k, 1)[0].body_stain[1].mean() for k in with_body}
    assert max(eosin, key=eosin.get) == 5  # the eosinophil's bright red granules


def test_long_axis_points_along_the_angle():
    rng = np.random.default_rng(1)
    nucleus = draw_nucleus(rng, 6, angle=0.0)
    rows, cols = np.nonzero(nucleus.mask)
    assert np.ptp(cols) > 2 * np.ptp(rows)


def test_noise_is_periodic_with_unit_spread():
    tile = noise_tile(3.0)
    assert abs(tile.std() - 1) < 1e-3 and abs(tile.mean()) < 1e-3
    jump = np.abs(tile[0] - tile[-1]).mean()
    assert jump < 1.5 * np.abs(np.diff(tile, axis=0)).mean()
