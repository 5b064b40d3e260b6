# Copyright (c) CellVTA-MMSeg contributors.
from dataclasses import replace

import numpy as np
import pytest
from cell_tables import INFO, squares

from mmseg_cellvta.exports.cell_statistics import (
    CellSample,
    CellStatistics,
    grid_shape,
    smooth_density,
)


def test_counts_areas_and_places_are_those_of_the_nuclei():
    statistics = CellStatistics(INFO)
    statistics.add(squares([(10, 20), (895, 20)]))  # the second centred on the border
    statistics.add(squares([]))
    statistics.add(squares([(10, 620)], side=40))
    assert statistics.counts.tolist() == [0, 2, 1]
    assert statistics.area_sums.tolist() == [0, 6.25 + 100, 6.25]  # µm²
    assert statistics.area_bins[1].nonzero()[0].tolist() == [1, 20]
    # Squares of 100 µm: a whole one, one cut at the right and one cut below.
    assert statistics.tissue_mm2 == pytest.approx(
        (100 * 100 + 100 * 25 + 75 * 100) / 1e6)
    assert np.argwhere(statistics.grid[1]).tolist() == [[0, 0], [16, 0]]
    assert np.argwhere(statistics.grid[2]).tolist() == [[0, 21]]


def test_a_class_without_name_is_refused():
    statistics = CellStatistics(replace(INFO, classes=INFO.classes[:2]))
    with pytest.raises(ValueError, match='slide: class id 2 .* only 2 class names'):
        statistics.add(squares([(10, 20), (850, 20)]))


def test_the_sample_does_not_depend_on_how_the_nuclei_are_cut_into_tables():
    table = squares(np.random.default_rng(0).uniform(0, 600, (60, 2)).round())
    whole, parts = CellSample(3, 12), CellSample(3, 12)
    whole.add(table)
    for rows in np.split(np.arange(60), [7, 8, 40]):
        parts.add(table.select(rows))
    for label in (1, 2):
        centres = [centre for centre, _ in whole.cells(label)]
        assert len(set(centres)) == 12
        assert centres == [centre for centre, _ in parts.cells(label)]


def test_bins_are_as_fine_as_a_nucleus_or_as_the_page():
    assert grid_shape((700, 900), 0.25) == (18, 22)  # 10 µm
    assert grid_shape((40000, 80000), 0.25) == (250, 500)  # 1/500 of the longer side


def test_evenly_spread_nuclei_have_one_density_up_to_the_border():
    values = smooth_density(np.full((30, 40), 2), bin_mm2=1e-4)
    assert values == pytest.approx(2e4)


def test_smoothing_far_from_the_border_keeps_the_number_of_nuclei():
    counts = np.zeros((101, 101), int)
    counts[50, 50] = 7
    values = smooth_density(counts, bin_mm2=1e-4)
    assert values.sum() * 1e-4 == pytest.approx(7, rel=1e-3)
