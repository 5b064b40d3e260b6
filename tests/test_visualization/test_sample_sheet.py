# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from stained_folder import CLASSES, PALETTE, draw_labels, stain

from mmseg_cellvta.datasets.transforms.hv_target import hv_target
from mmseg_cellvta.visualization.drawing import (
    CLASS_GROUND,
    GROUND_COLOR,
    HIGH_COLOR,
    LOW_COLOR,
    MIDDLE_COLOR,
    OUTLINE_COLOR,
    color_distances,
    draw_sample_sheet,
)

SCALE = 8  # 64 px to 512 px


@pytest.fixture(scope='module')
def panels():
    """The four drawings of a sheet, each 512 x 512 px, without titles and legends."""
    labels = draw_labels()
    inst_map, class_map = labels[..., 0], labels[..., 1]
    image = stain(labels, seed=0)
    sheet = draw_sample_sheet(
        'a_1', image, inst_map, class_map, hv_target(inst_map), CLASSES, PALETTE)
    # Both maps begin with a row of grey.
    grey = (sheet == GROUND_COLOR).all(axis=2)
    top = int(np.argmax(grey.sum(axis=1) >= 2 * 64 * SCALE))
    cols = np.flatnonzero(grey[top])
    horizontal, vertical = int(cols[0]), int(cols[64 * SCALE])
    step = vertical - horizontal
    return [sheet[top:top + 64 * SCALE, start:start + 64 * SCALE]
            for start in (horizontal - step, horizontal, vertical, vertical + step)]


def at(panel, row, col):
    """Colour at the middle of a pixel of the sample."""
    return panel[row * SCALE + SCALE // 2, col * SCALE + SCALE // 2].astype(int)


def test_outlines_in_class_colours_are_on_the_edges_of_nuclei(panels):
    picture = panels[0]
    assert at(picture, 13, 6).tolist() == list(PALETTE[1])  # left edge, class 1
    assert at(picture, 13, 24).tolist() == list(PALETTE[2])
    assert abs(at(picture, 13, 10) - (90, 60, 140)).max() < 30  # inside: as it was


def test_maps_run_from_left_to_right_and_from_top_to_bottom(panels):
    horizontal, vertical = panels[1:3]
    for row in (9, 13, 18):
        left, right = at(horizontal, row, 7), at(horizontal, row, 12)
        assert left[2] > left[0] + 60 and right[0] > right[2] + 60  # blue, red
    for col in (7, 9, 12):
        top, bottom = at(vertical, 9, col), at(vertical, 18, col)
        assert top[2] > top[0] + 60 and bottom[0] > bottom[2] + 60


def test_maps_and_classes_have_dark_outlines_and_a_ground_of_their_own(panels):
    for panel, ground in zip(
            panels[1:], (GROUND_COLOR, GROUND_COLOR, [CLASS_GROUND] * 3), strict=True):
        assert at(panel, 2, 2).tolist() == list(ground)
        assert at(panel, 13, 6).tolist() == list(OUTLINE_COLOR)


def test_classes_are_filled_with_their_colours(panels):
    assert at(panels[3], 13, 10).tolist() == list(PALETTE[1])
    assert at(panels[3], 13, 28).tolist() == list(PALETTE[2])


def test_distances_are_blue_white_and_red():
    channel = np.array([[-1, 0, 1, 0.5, 0]])
    colors = color_distances(channel, np.array([[1, 1, 1, 1, 0]], bool))[0]
    between = np.rint((np.array(MIDDLE_COLOR) + HIGH_COLOR) / 2)
    expected = [LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR, between, GROUND_COLOR]
    assert abs(colors.astype(int) - np.array(expected)).max() <= 1


def test_the_legend_has_the_colour_of_every_class(panels):
    sheet = draw_sample_sheet(
        'no nuclei', np.full((600, 520, 3), 128, np.uint8),
        np.zeros((600, 520), np.int32), np.zeros((600, 520), np.int64),
        np.zeros((2, 600, 520), np.float32), CLASSES, PALETTE)
    assert sheet.shape[1] > 4 * 520 and sheet.shape[0] < 760  # not enlarged
    for color in PALETTE[1:]:
        assert (sheet == color).all(axis=2).sum() > 50
