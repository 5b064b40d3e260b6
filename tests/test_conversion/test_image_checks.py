# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from stained_folder import draw_labels, stain

from mmseg_cellvta.conversion.health_checks import (
    check_alignment,
    compare_density,
    digest,
)


def test_density_is_the_mean_over_pixels_and_colours():
    image = np.full((4, 4, 3), 255, np.uint8)
    image[:2] = 24, 24, 255
    nuclei = np.zeros((4, 4), bool)
    nuclei[:2] = True
    inside, outside = compare_density(image, nuclei)
    assert inside == pytest.approx(2 / 3 * np.log10(256 / 25)) and outside == 0


def test_dark_nuclei_are_right_and_moved_labels_are_not():
    labels = draw_labels()
    image, inst_map = stain(labels, seed=0), labels[..., 0]
    assert check_alignment(image, inst_map, 6) == []
    ((check, detail),) = check_alignment(image, np.roll(inst_map, 10, axis=1), 6)
    assert check == 'misaligned' and detail.startswith('6 nuclei, mean optical density')


def test_few_nuclei_and_nuclei_everywhere_say_nothing():
    image = np.full((8, 8, 3), 255, np.uint8)
    assert check_alignment(image, np.eye(8, dtype=int), 4) == []
    assert check_alignment(image, np.ones((8, 8), int), 5) == []


def test_digests_are_equal_for_equal_pixels_only():
    image = np.zeros((4, 6, 3), np.uint8)
    assert digest(image) == digest(image[::-1, :, ::-1])
    assert digest(image) != digest(image.reshape(6, 4, 3))
    other = image.copy()
    other[3, 5, 2] = 1
    assert digest(image) != digest(other)
