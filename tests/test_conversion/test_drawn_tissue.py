# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.conversion.drawn_tissue import (
    EPITHELIAL,
    KINDS,
    draw_gland,
    draw_stroma,
    grow_tissue,
)


def test_shares_of_the_kinds_sum_to_one():
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize('name', KINDS)
def test_tissue_has_stain_of_both_dyes_and_no_negative_density(name):
    tissue = grow_tissue(np.random.default_rng(0), KINDS[name])
    assert tissue.stain.shape == (2, 256, 256)
    assert tissue.stain.min() >= 0 and np.isfinite(tissue.stain).all()
    assert tissue.stain[1].mean() > tissue.stain[0].mean()  # mostly eosin


def test_empty_tissue_is_pale_and_nearly_without_nuclei():
    tissues = [grow_tissue(np.random.default_rng(i), KINDS['empty']) for i in range(20)]
    full = grow_tissue(np.random.default_rng(0), KINDS['stroma'])
    assert np.mean([len(tissue.placements) for tissue in tissues]) < 5
    assert all(t.stain.mean() < 0.7 * full.stain.mean() for t in tissues)


def test_gland_is_lined_with_epithelium_pointing_to_its_centre():
    rng = np.random.default_rng(2)
    stain, _ = draw_stroma(rng)
    occupied = np.zeros((256, 256), bool)
    placements = draw_gland(rng, stain, occupied, malignant=False)
    assert len(placements) > 10
    assert {place.class_id for place in placements} == {EPITHELIAL}
    centre = np.mean([(p.x, p.y) for p in placements], axis=0)
    radial = [np.arctan2(p.y - centre[1], p.x - centre[0]) for p in placements]
    angles = np.array([p.angle for p in placements])
    assert np.mean(np.cos(angles - radial)**2) > 0.9
    assert occupied.any()


def test_glands_do_not_overlap_and_give_up_where_there_is_no_room():
    rng = np.random.default_rng(0)
    stain, _ = draw_stroma(rng)
    before = stain.copy()
    placements = draw_gland(rng, stain, np.ones((256, 256), bool), malignant=True)
    assert placements == []
    np.testing.assert_array_equal(stain, before)


def test_fibres_run_along_the_returned_direction():
    stain, direction = draw_stroma(np.random.default_rng(4))
    slope_y, slope_x = np.gradient(stain[1])
    along = slope_x * np.cos(direction) + slope_y * np.sin(direction)
    across = -slope_x * np.sin(direction) + slope_y * np.cos(direction)
    assert np.abs(along).mean() < 0.6 * np.abs(across).mean()
