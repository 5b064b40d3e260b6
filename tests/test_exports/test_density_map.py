# Copyright (c) CellVTA-MMSeg contributors.
import io

import numpy as np
import pytest
from PIL import Image

from mmseg_cellvta.exports.html_report import (
    density,
    encode_color_bar,
    encode_map,
    grid_shape,
    round_up,
)


def decode(content):
    """RGBA pixels, (H, W, 4) int."""
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGBA')).astype(int)


def test_bins_are_as_fine_as_a_nucleus_or_as_the_page():
    assert grid_shape((700, 900), 0.25) == (18, 22)  # 10 µm
    assert grid_shape((40000, 80000), 0.25) == (250, 500)  # 1/500 of the longer side


def test_evenly_spread_nuclei_have_one_density_up_to_the_border():
    values = density(np.full((30, 40), 2), bin_mm2=1e-4)
    assert values == pytest.approx(2e4)


def test_smoothing_far_from_the_border_keeps_the_number_of_nuclei():
    counts = np.zeros((101, 101), int)
    counts[50, 50] = 7
    assert density(counts, bin_mm2=1e-4).sum() * 1e-4 == pytest.approx(7, rel=1e-3)


@pytest.mark.parametrize('value, top', [
    (0, 1), (0.9, 1), (1, 1), (1.2, 1.5), (16, 20), (2999, 3000), (3001, 5000),
    (7100, 10000)])
def test_the_scale_ends_with_a_round_number(value, top):
    assert round_up(value) == pytest.approx(top)


def test_a_map_is_transparent_where_there_is_nothing_and_never_hides_the_tissue():
    alpha = decode(encode_map(np.array([[0.0, 25, 100, 300]]), top=100))[0, :, 3]
    assert alpha[0] == 0 and alpha[1] > 80
    assert alpha[2] == alpha[3] == round(0.8 * 255)


def test_colours_run_without_steps_and_are_no_stain():
    """A step would look like a border; hematoxylin and eosin are redder than green."""
    colors = decode(encode_color_bar())[0]
    assert np.abs(np.diff(colors, axis=0)).max() <= 4
    low = colors[:len(colors) // 2]
    assert (low[:, 1] > low[:, 0] + 40).all()
