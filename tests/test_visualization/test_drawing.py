# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from stained_folder import CLASSES, PALETTE, draw_labels, stain

from mmseg_cellvta.datasets.transforms.hv_target import hv_target
from mmseg_cellvta.visualization.drawing import (
    CLASS_BACKGROUND_GREY,
    HIGH_COLOR,
    HV_BACKGROUND_COLOR,
    LOW_COLOR,
    MIDDLE_COLOR,
    OUTLINE_COLOR,
    color_distances,
    draw_instance_map,
    draw_outlines,
    draw_panels,
    draw_sample_sheet,
    draw_scale_bar,
)

COLORS = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
RED, BLUE = COLORS[1:]
SCALE = 8  # 64 px to 512 px


def two_squares():
    """A grey image; id 3 (rows 5-24, cols 5-24) and id 7 (rows 5-24, cols 35-54)."""
    inst_map = np.zeros((40, 60), np.int32)
    inst_map[5:25, 5:25] = 3
    inst_map[5:25, 35:55] = 7
    return np.full((40, 60, 3), 128, np.uint8), inst_map


@pytest.mark.parametrize('step', [1, -1])  # -1: a BGR image read backwards
def test_nuclei_of_a_map_are_outlined_in_the_colours_of_their_classes(step):
    image, inst_map = two_squares()
    drawn = draw_instance_map(image[..., ::step], inst_map, np.array([1, 2]), COLORS)
    assert drawn[15, 5].tolist() == RED and drawn[15, 54].tolist() == BLUE
    assert (drawn[10:20, 10:20] == 128).all() and (drawn[30:] == 128).all()
    assert (image == 128).all()


def test_an_enlarged_outline_lies_on_the_enlarged_pixel_centres():
    image, inst_map = two_squares()
    drawn = draw_instance_map(image, inst_map, np.array([1, 2]), COLORS, scale=4)
    assert drawn.shape == (160, 240, 3)
    # Left edge of id 3: column 5, whose centre is at 5.5 * 4 - 0.5 = 21.5.
    assert drawn[60, 21].tolist() == drawn[60, 22].tolist() == RED
    assert drawn[60, 20, 0] > 200 and drawn[60, 23, 0] < 255  # evenly on both sides
    assert drawn[60, 16].tolist() == drawn[60, 27].tolist() == [128, 128, 128]


def test_a_nucleus_in_two_pieces_has_two_outlines():
    image, inst_map = two_squares()
    inst_map[inst_map == 7] = 3
    drawn = draw_instance_map(image, inst_map, np.array([1]), COLORS)
    assert drawn[15, 5].tolist() == drawn[15, 54].tolist() == RED


def test_an_image_without_nuclei_is_unchanged():
    image, inst_map = two_squares()
    drawn = draw_instance_map(image, np.zeros_like(inst_map), [], COLORS)
    assert np.array_equal(drawn, image)


@pytest.mark.parametrize('rows, classes, message', [
    (20, [1, 2], r'\(20, 60\).*\(40, 60\)'),
    (40, [1, 2, 1], '2 instances, but classes holds 3')])
def test_what_does_not_fit_is_refused_with_both_numbers(rows, classes, message):
    image, inst_map = two_squares()
    with pytest.raises(ValueError, match=message):
        draw_instance_map(image, inst_map[:rows], classes, COLORS)


def test_a_ring_is_drawn_over_the_border_pixels_of_its_nucleus():
    image, _ = two_squares()
    ring = np.array([(5, 5), (25, 5), (25, 25), (5, 25), (5, 5)], float)
    drawn = draw_outlines(image, [ring, ring + (30, 0)], np.array([1, 2]), COLORS)
    assert drawn[15, 4:6].max() == 255 and (drawn[10:20, 10:20] == 128).all()
    assert drawn[15, 5, 2] < 128 < drawn[15, 5, 0]  # red
    assert drawn[15, 35, 0] < 128 < drawn[15, 35, 2]  # blue


def test_a_scale_bar_has_its_length_and_is_seen_on_dark_images():
    image = np.full((40, 60, 3), 60, np.uint8)
    drawn = draw_scale_bar(image, 20.4)
    rows, cols = np.nonzero((drawn == 0).all(axis=2))
    assert np.ptp(cols) + 1 == 20 and rows.min() > 30 and cols.max() < 30
    assert drawn[rows.min() - 1, cols.min()].tolist() == [255, 255, 255]
    assert (image == 60).all()


def test_panels_stand_side_by_side_below_their_titles():
    red, blue = (np.full((100, 80, 3), color, np.uint8) for color in (RED, BLUE))
    sheet = draw_panels([('left', red), ('right', blue)], [])
    rows, cols = np.nonzero((sheet == RED).all(axis=2))
    assert np.ptp(rows) == 99 and np.ptp(cols) == 79
    assert np.nonzero((sheet == BLUE).all(axis=2))[1].min() > cols.max()
    # The title is dark text on white, above the left drawing.
    title = sheet[:rows.min(), cols.min():cols.max()]
    assert title.min() < 100 and title.max() == 255


def test_the_legend_shows_every_colour_and_wraps_below_narrow_panels():
    panel = 'title', np.full((60, 100, 3), 128, np.uint8)
    legend = [('epithelial 10 / 12', RED), ('connective 3 / 4', BLUE)]
    sheet = draw_panels([panel], legend)
    tops = []
    for color in (RED, BLUE):
        rows, _ = np.nonzero((sheet == color).all(axis=2))
        assert len(rows) > 50
        tops.append(rows.min())
    assert tops[0] < tops[1]


@pytest.fixture(scope='module')
def panels():
    """The four drawings of a sheet, each 512 x 512 px, without titles and legends."""
    labels = draw_labels()
    inst_map, class_map = labels[..., 0], labels[..., 1]
    image = stain(labels, seed=0)
    sheet = draw_sample_sheet(
        'a_1', image, inst_map, class_map, hv_target(inst_map), CLASSES, PALETTE)
    # Both maps begin with a row of grey.
    grey = (sheet == HV_BACKGROUND_COLOR).all(axis=2)
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
    image = panels[0]
    assert at(image, 13, 6).tolist() == list(PALETTE[1])  # left edge, class 1
    assert at(image, 13, 24).tolist() == list(PALETTE[2])
    assert abs(at(image, 13, 10) - (90, 60, 140)).max() < 30  # inside: as it was


def test_maps_run_from_left_to_right_and_from_top_to_bottom(panels):
    horizontal, vertical = panels[1:3]
    for row in (9, 13, 18):
        left, right = at(horizontal, row, 7), at(horizontal, row, 12)
        assert left[2] > left[0] + 60 and right[0] > right[2] + 60  # blue, red
    for col in (7, 9, 12):
        top, bottom = at(vertical, 9, col), at(vertical, 18, col)
        assert top[2] > top[0] + 60 and bottom[0] > bottom[2] + 60


def test_maps_and_classes_have_dark_outlines_and_backgrounds_of_their_own(panels):
    backgrounds = HV_BACKGROUND_COLOR, HV_BACKGROUND_COLOR, [CLASS_BACKGROUND_GREY] * 3
    for panel, background in zip(panels[1:], backgrounds, strict=True):
        assert at(panel, 2, 2).tolist() == list(background)
        assert at(panel, 13, 6).tolist() == list(OUTLINE_COLOR)


def test_classes_are_filled_with_their_colours(panels):
    assert at(panels[3], 13, 10).tolist() == list(PALETTE[1])
    assert at(panels[3], 13, 28).tolist() == list(PALETTE[2])


def test_distances_are_blue_white_and_red():
    channel = np.array([[-1, 0, 1, 0.5, 0]])
    colors = color_distances(channel, np.array([[1, 1, 1, 1, 0]], bool))[0]
    between = np.rint((np.array(MIDDLE_COLOR) + HIGH_COLOR) / 2)
    expected = [LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR, between, HV_BACKGROUND_COLOR]
    assert abs(colors.astype(int) - np.array(expected)).max() <= 1


def test_a_large_sample_without_nuclei_keeps_its_size_and_the_legend():
    sheet = draw_sample_sheet(
        'no nuclei', np.full((600, 520, 3), 128, np.uint8),
        np.zeros((600, 520), np.int32), np.zeros((600, 520), np.int64),
        np.zeros((2, 600, 520), np.float32), CLASSES, PALETTE)
    assert sheet.shape[1] > 4 * 520 and sheet.shape[0] < 760  # not enlarged
    for color in PALETTE[1:]:
        assert (sheet == color).all(axis=2).sum() > 50
