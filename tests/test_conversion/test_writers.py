# Copyright (c) CellVTA-MMSeg contributors.
import json
import os

import cv2
import numpy as np
import pytest
from own_data import SHAPE, label_maps, write_image

from mmseg_cellvta.conversion.writers import FolderWriter, Tiling, number_from_one
from mmseg_cellvta.utils.files import PendingFolder
from mmseg_cellvta.utils.images import LabelledPicture

CLASSES = ['background', 'tumour', 'other']
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
WHOLE = Tiling()


def read_maps(picture, shape):
    return label_maps()


@pytest.fixture
def pictures(tmp_path):
    """Pictures a_1, a_2 and a_10."""
    found = []
    for name, part in dict(a_10='test', a_1='train', a_2='train').items():
        write_image(tmp_path / f'{name}.png')
        (tmp_path / f'{name}.txt').touch()
        found.append(LabelledPicture(
            name, tmp_path / f'{name}.png', tmp_path / f'{name}.txt', part=part))
    return found


@pytest.fixture
def start(tmp_path, pictures):

    def make_writer(tiling=WHOLE, chosen=pictures):
        folder = PendingFolder(tmp_path / 'out', dict(tile=tiling.size))
        return FolderWriter(folder, chosen, tiling, CLASSES)

    return make_writer


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_laid_out_for_the_dataset(start):
    writer = start()
    writer.write(read_maps)
    writer.finish(PALETTE, 0.25)
    root = writer.root
    assert (root / 'train.txt').read_text() == 'a_1\na_2\n'
    assert (root / 'test.txt').read_text() == 'a_10\n'
    assert not (root / 'val.txt').exists()
    assert json.loads((root / 'dataset.json').read_text()) == dict(
        classes=CLASSES, palette=PALETTE, mpp=0.25)
    image = cv2.imread(str(root / 'Images/a_1.png'))
    assert image.shape == (*SHAPE, 3) and image[0, 0].tolist() == [10, 120, 200]


def test_ids_are_numbered_from_one_in_their_order(start):
    writer = start()
    writer.write(read_maps)
    labels = np.load(writer.root / 'Labels/a_1.npy')
    inst_map, class_map = label_maps()  # ids 3, 7 and 900
    assert labels.dtype == np.int32
    for new, old in enumerate([3, 7, 900], 1):
        assert ((labels[..., 0] == new) == (inst_map == old)).all()
    assert (labels[..., 1] == class_map).all()


def test_class_of_pixels_without_nucleus_is_background(start):
    writer = start()
    writer.write(lambda picture, shape: (label_maps()[0], np.full(SHAPE, 2)))
    labels = np.load(writer.root / 'Labels/a_1.npy')
    assert ((labels[..., 1] > 0) == (labels[..., 0] > 0)).all()


def test_numbers_of_a_map_without_background_begin_at_one():
    assert number_from_one(np.array([[9, 4], [4, 9]])).tolist() == [[2, 1], [1, 2]]
    assert number_from_one(np.zeros((2, 2), int)).tolist() == [[0, 0], [0, 0]]


def test_tiles_hold_what_is_there_and_number_it_anew(start):
    writer = start(Tiling(30, 10))
    writer.write(read_maps)
    summary = writer.finish(PALETTE, 0.25)
    assert names_in(writer.root / 'Images')[0] == 'a_10_r0000_c0000.png'
    assert (writer.root / 'test.txt').read_text().splitlines() == [
        f'a_10_r{top:04d}_c{left:04d}' for top in (0, 10) for left in (0, 20, 30)]
    labels = np.load(writer.root / 'Labels/a_1_r0010_c0030.npy')
    assert labels.shape == (30, 30, 2)
    assert (labels[20:, 20:] == [1, 2]).all() and (labels > 0).sum() == 200
    image = cv2.imread(str(writer.root / 'Images/a_1_r0010_c0030.png'))
    whole = cv2.imread(str(writer.pictures[0].img_path))
    assert (image == whole[10:, 30:]).all()
    assert summary.images == dict(train=12, test=6)


def test_summary_counts_nuclei_by_part_and_class(start):
    writer = start()
    writer.write(read_maps)
    summary = writer.finish(PALETTE, 0.25)
    assert summary.nuclei['train'].tolist() == [2, 4]
    assert summary.nuclei['test'].tolist() == [1, 2]
    assert summary.sizes == {SHAPE: 3}


def test_small_picture_is_found_before_anything_is_written(start):
    with pytest.raises(ValueError, match='a_1: 60 x 40 px, smaller than a tile of 50'):
        start(Tiling(50))


@pytest.mark.parametrize(('maps', 'message'), [
    ((np.zeros((40, 61), int), np.zeros((40, 61), int)),
     r'a_1.txt: \(40, 61\) \(rows, columns\) px, its picture a_1.png \(40, 60\)'),
    ((np.zeros(SHAPE, int), np.zeros((41, 60), int)), r'a_1.txt: \(41, 60\)'),
    ((np.ones(SHAPE, int), np.full(SHAPE, 3)), r'a_1.txt: class id 3 \(instance 1\)'),
    ((np.full(SHAPE, 4), np.arange(2400).reshape(SHAPE) % 2 + 1),
     r'a_1.txt: instance 4 has the classes \[1, 2\]'),
    ((np.full(SHAPE, -1), np.ones(SHAPE, int)), 'a_1.txt: instance id -1'),
    ((np.full(SHAPE, 4), np.zeros(SHAPE, int)), 'a_1.txt: instance 4 has class 0')])
def test_wrong_labels_are_named(start, maps, message):
    with pytest.raises(ValueError, match=message):
        start().write(lambda picture, shape: maps)


def test_what_is_written_is_not_read_again(start):
    seen = []

    def read_two(picture, shape):
        if len(seen) == 2:
            raise ValueError('stop')
        seen.append(picture.name)
        return label_maps()

    with pytest.raises(ValueError, match='stop'):
        start().write(read_two)
    again = []
    start().write(lambda picture, shape: again.append(picture.name) or label_maps())
    assert (seen, again) == (['a_1', 'a_2'], ['a_10'])


def test_corrected_file_is_read_again(start, pictures):
    start().write(read_maps)
    new = pictures[2].label_path.with_suffix('.new')
    new.touch()
    os.utime(new, (1, 1))  # as old as an unpacked archive
    os.replace(new, pictures[2].label_path)
    again = []
    start().write(lambda picture, shape: again.append(picture.name) or label_maps())
    assert again == ['a_2']


def test_picture_taken_away_in_between_leaves_no_trace(start, pictures):
    start().write(read_maps)
    writer = start(chosen=pictures[:2])
    writer.write(read_maps)
    writer.finish(PALETTE, 0.25)
    assert names_in(writer.root / 'Images') == ['a_1.png', 'a_10.png']
    assert names_in(writer.root / 'Labels') == ['a_1.npy', 'a_10.npy']


def test_full_disk_is_an_error(start, monkeypatch):
    monkeypatch.setattr(cv2, 'imwrite', lambda *args: False)
    with pytest.raises(OSError, match='a_1.png: cannot be written'):
        start().write(read_maps)
