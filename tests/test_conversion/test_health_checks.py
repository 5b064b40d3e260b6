# Copyright (c) CellVTA-MMSeg contributors.
import time

import numpy as np
import pytest
from stained_folder import draw_labels, stain

from mmseg_cellvta.conversion.health import FAULTS
from mmseg_cellvta.conversion.health_checks import (
    Pieces,
    check_alignment,
    check_labels_of_image,
    compare_density,
    digest,
)


def check(labels, num_classes=3):
    return check_labels_of_image(labels[..., 0], labels[..., 1], num_classes)


def test_right_labels_have_no_findings():
    assert check(draw_labels()) == []
    assert check(np.zeros((8, 8, 2), np.uint16)) == []


FIRST, CORNER, LAST = np.s_[8:20, 6:14], np.s_[8:10, 6:8], np.s_[34:46, 42:50]


@pytest.mark.parametrize(('changes', 'finding'), [
    ([(LAST, (3, 1))], ('duplicate_id', 'instance 3: 2 pieces, 31 px apart')),
    ([(np.s_[13, 6:14], 0)], ('split_instance', 'instance 3: 2 pieces')),
    ([(FIRST, 0), (np.s_[8:11, 6:9], (3, 1))], ('small_instance', 'instance 3: 9 px')),
    ([(FIRST, (-3, 1))], ('negative_id', 'instance -3')),
    ([(FIRST, (3, 3))], ('unknown_class', 'class 3: instance 3')),
    ([(FIRST, (3, -2))], ('unknown_class', 'class -2: instance 3')),
    ([(np.s_[0, 0], (0, 255))], ('unknown_class', 'class 255: in no instance')),
    ([(CORNER, (3, 0))], ('no_class', 'instance 3: 4 px')),
    ([(FIRST, (0, 1))], ('no_instance', '96 px of class 1')),
    ([(CORNER, (3, 2))], ('two_classes', 'instance 3: classes [1, 2]')),
])
def test_a_fault_is_found_and_nothing_else(changes, finding):
    labels = draw_labels()
    for where, ids in changes:
        labels[where] = ids
    assert check(labels) == [finding] and finding[0] in FAULTS


def test_a_frame_or_a_labelled_background_is_found():
    labels = draw_labels()
    labels[labels[..., 0] == 0] = 99, 1
    height, width = labels.shape[:2]
    assert check(labels) == [('frame', f'instance 99: {width} x {height} px')]
    labels[:2], labels[:, :2] = 0, 0  # still more than 0.9 of both sides
    assert check(labels) == [('frame', f'instance 99: {width - 2} x {height - 2} px')]


def test_pieces_that_touch_at_a_corner_are_one():
    labels = np.zeros((20, 20, 2), np.int32)
    labels[2:6, 2:6] = labels[6:10, 6:10] = 5, 1
    assert check(labels) == []


def test_far_is_farther_than_the_largest_piece_is_long():
    """The largest piece is 3 x 4 px, 5 px from corner to corner."""
    for gap, expected in ((5, 'split_instance'), (6, 'duplicate_id')):
        labels = np.zeros((20, 30, 2), np.int32)
        labels[2:5, 2:6] = labels[2:5, 6 + gap:8 + gap] = 1, 1
        assert [name for name, _ in check(labels)] == [expected]


def test_every_fault_of_an_image_is_listed():
    labels = draw_labels()
    labels[13, 6:14] = 0
    labels[labels[..., 0] == 6] = 6, 9
    labels[labels[..., 0] == 9] = 9, 8
    assert [name for name, _ in check(labels)] == [
        'split_instance', 'unknown_class', 'unknown_class']


def test_labels_may_have_any_integer_dtype():
    for dtype in (np.uint8, np.uint16, np.int64):
        assert check(draw_labels().astype(dtype)) == []


def test_pieces_are_sorted_by_id_with_areas_and_boxes():
    inst_map = np.zeros((6, 8), int)
    inst_map[0:2, 0:3], inst_map[4:6, 5:8], inst_map[4, 0] = 7, 2, 7
    pieces = Pieces.of(inst_map)
    assert pieces.ids.tolist() == [2, 7, 7] and pieces.areas.tolist() == [6, 6, 1]
    assert pieces.boxes.tolist() == [[4, 5, 6, 8], [0, 0, 2, 3], [4, 0, 5, 1]]


def test_time_does_not_grow_with_the_number_of_nuclei():
    """A mask for each of 40,000 nuclei would take minutes."""
    inst_map = np.kron(np.arange(1, 40001).reshape(200, 200), np.ones((5, 5), int))
    start = time.process_time()
    found = check_labels_of_image(inst_map, np.ones_like(inst_map), 2)
    assert found == [] and time.process_time() - start < 5


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
