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
    draw_cells,
    draw_outlines,
    draw_panels,
    draw_sample_sheet,
    enlarge,
)

COLORS = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
SCALE = 8  # 64 px to 512 px


def two_squares():
    """A grey picture; id 3 (rows 5-24, cols 5-24) and id 7 (rows 5-24, cols 35-54)."""
    inst_map = np.zeros((40, 60), np.int32)
    inst_map[5:25, 5:25] = 3
    inst_map[5:25, 35:55] = 7
    return np.full((40, 60, 3), 128, np.uint8), inst_map


def test_each_nucleus_is_outlined_in_the_colour_of_its_class():
    image, inst_map = two_squares()
    drawn = draw_cells(image, inst_map, np.array([1, 2]), COLORS)
    assert drawn[15, 5].tolist() == [255, 0, 0]
    assert drawn[15, 54].tolist() == [0, 0, 255]


def test_inside_and_outside_of_nuclei_stay_as_they_were():
    image, inst_map = two_squares()
    drawn = draw_cells(image, inst_map, np.array([1, 2]), COLORS)
    assert (drawn[10:20, 10:20] == 128).all()
    assert (drawn[30:] == 128).all()


def test_the_given_picture_is_not_drawn_on():
    image, inst_map = two_squares()
    draw_cells(image, inst_map, np.array([1, 2]), COLORS)
    assert (image == 128).all()


def test_enlarged_outline_lies_on_the_enlarged_pixel_centres():
    image, inst_map = two_squares()
    drawn = draw_cells(image, inst_map, np.array([1, 2]), COLORS, scale=4)
    assert drawn.shape == (160, 240, 3)
    # Left edge of id 3: column 5, whose centre is at 5.5 * 4 - 0.5 = 21.5.
    assert drawn[60, 21].tolist() == drawn[60, 22].tolist() == [255, 0, 0]
    assert drawn[60, 16].tolist() == drawn[60, 27].tolist() == [128, 128, 128]


def test_nucleus_in_two_pieces_has_two_outlines():
    image, inst_map = two_squares()
    inst_map[inst_map == 7] = 3
    drawn = draw_cells(image, inst_map, np.array([1]), COLORS)
    assert drawn[15, 5].tolist() == drawn[15, 54].tolist() == [255, 0, 0]


def test_picture_read_backwards_can_be_drawn_on():
    image, inst_map = two_squares()
    drawn = draw_cells(image[..., ::-1], inst_map, np.array([1, 2]), COLORS)
    assert drawn[15, 5].tolist() == [255, 0, 0]


def test_picture_without_nuclei_is_unchanged():
    image, inst_map = two_squares()
    drawn = draw_cells(image, np.zeros_like(inst_map), np.zeros(0, int), COLORS)
    assert np.array_equal(drawn, image)


def test_map_of_another_size_is_refused_with_both_sizes():
    image, inst_map = two_squares()
    with pytest.raises(ValueError, match=r'\(20, 60\).*\(40, 60\)'):
        draw_cells(image, inst_map[:20], np.array([1, 2]), COLORS)


def test_wrong_number_of_classes_is_refused():
    image, inst_map = two_squares()
    with pytest.raises(ValueError, match='2 instances, but classes holds 3'):
        draw_cells(image, inst_map, np.array([1, 2, 1]), COLORS)


def test_enlarge_multiplies_both_sides():
    assert enlarge(np.zeros((3, 5, 3), np.uint8), 4).shape == (12, 20, 3)


def test_panels_stand_side_by_side_below_their_titles():
    red, blue = np.zeros((100, 80, 3), np.uint8), np.zeros((100, 80, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    picture = draw_panels([('left', red), ('right', blue)], [])
    rows, cols = np.nonzero((picture == [255, 0, 0]).all(axis=2))
    assert np.ptp(rows) == 99 and np.ptp(cols) == 79
    assert np.nonzero((picture == [0, 0, 255]).all(axis=2))[1].min() > cols.max()
    # The title is dark text on white, above the left drawing.
    title = picture[: rows.min(), cols.min() : cols.max()]
    assert title.min() < 100 and title.max() == 255


def test_legend_shows_every_colour_and_wraps_in_narrow_pictures():
    panel = [('title', np.zeros((60, 100, 3), np.uint8))]
    legend = [('epithelial 10 / 12', (255, 0, 0)), ('connective 3 / 4', (0, 255, 0))]
    picture = draw_panels(panel, legend)
    tops = []
    for _, color in legend:
        rows, cols = np.nonzero((picture == color).all(axis=2))
        assert len(rows) > 50
        tops.append(rows.min())
    assert tops[0] < tops[1]


def test_a_traced_outline_is_drawn_over_the_border_pixels_of_its_nucleus():
    image, _ = two_squares()
    ring = np.array([(5, 5), (25, 5), (25, 25), (5, 25), (5, 5)], float)
    drawn = draw_outlines(image, [ring, ring + (30, 0)], np.array([1, 2]), COLORS)
    assert drawn[15, 4:6].max() == 255 and (drawn[10:20, 10:20] == 128).all()
    assert drawn[15, 5, 2] < 128 < drawn[15, 5, 0]  # red
    assert drawn[15, 35, 0] < 128 < drawn[15, 35, 2]  # blue
    assert (image == 128).all()


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
