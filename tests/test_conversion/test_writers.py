# Copyright (c) CellVTA-MMSeg contributors.
import errno
import json
import os
from argparse import ArgumentParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_data import SHAPE, label_maps, write_image

from mmseg_cellvta.conversion import writers as patch_writer
from mmseg_cellvta.conversion.writers import (
    FolderWriter,
    LabelledImage,
    PatchWriter,
    Tiling,
    add_tile_options,
    number_from_one,
    read_tile_options,
)
from mmseg_cellvta.datasets.labels import read_patches
from mmseg_cellvta.utils.files import PendingFolder

CLASSES = ['background', 'tumour', 'other']
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
WHOLE = Tiling()
SIDE = 16
ROWS = [dict(patch_info=f'p_{index}', tissue='Colon') for index in range(10)]


def test_tiles_are_named_by_their_place_and_cover_everything():
    windows = Tiling(20, 5).windows('a', (40, 47))
    assert list(windows) == ['a_r0000_c0000', 'a_r0000_c0015', 'a_r0000_c0027',
                             'a_r0015_c0000', 'a_r0015_c0015', 'a_r0015_c0027',
                             'a_r0020_c0000', 'a_r0020_c0015', 'a_r0020_c0027']
    covered = np.zeros((40, 47), bool)
    for window in windows.values():
        assert covered[window].shape == (20, 20)
        covered[window] = True
    assert covered.all()


def test_without_tiles_the_picture_stays_whole():
    windows = Tiling().windows('a', (4, 5))
    assert np.zeros((4, 5))[windows['a']].shape == (4, 5) and len(windows) == 1


def test_picture_smaller_than_a_tile_is_named():
    with pytest.raises(ValueError, match='a: 50 x 19 px, smaller than a tile of 20'):
        Tiling(20).windows('a', (19, 50))


@pytest.mark.parametrize(('size', 'overlap'), [(-1, 0), (20, 20), (20, -1), (0, 5)])
def test_tiles_that_do_not_advance_are_refused(size, overlap):
    with pytest.raises(ValueError, match=f'tiles of {size} px'):
        Tiling(size, overlap)


def test_options_of_the_command_line():
    parser = ArgumentParser()
    add_tile_options(parser)
    assert read_tile_options(parser.parse_args([])) == Tiling()
    args = parser.parse_args(['--tile', '256', '--overlap', '8'])
    assert read_tile_options(args) == Tiling(256, 8)


def read_maps(picture, shape):
    return label_maps()


@pytest.fixture
def pictures(tmp_path):
    """Pictures a_1, a_2 and a_10."""
    found = []
    for name, part in dict(a_10='test', a_1='train', a_2='train').items():
        write_image(tmp_path / f'{name}.png')
        (tmp_path / f'{name}.txt').touch()
        found.append(LabelledImage(
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


def make_patch(index, class_id=2):
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    inst_map = np.zeros((SIDE, SIDE), np.int32)
    inst_map[2:6, 2:8], inst_map[9:12, 2:8] = 1, 300
    return image, inst_map, np.where(inst_map > 0, class_id, 0)


@pytest.fixture
def folder(tmp_path):
    return PendingFolder(tmp_path / 'out', dict(source='here'))


@pytest.fixture
def write(folder):

    def write(read=make_patch, name='', source=None, **kwargs):
        writer = PatchWriter(folder, name, ROWS, (SIDE, SIDE), 4, source=source)
        writer.write(read, **kwargs)

    return write


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(patch_writer, 'CHUNK', 4)


@pytest.mark.parametrize('name', ['', 'fold1'])
def test_patches_read_back(folder, write, name):
    steps = []
    write(name=name, advance=steps.append)
    images, labels, rows = read_patches(str(folder.part / name))
    assert rows == ROWS and steps == [0, 4, 4, 2]
    for index in range(10):
        image, inst_map, class_map = make_patch(index)
        np.testing.assert_array_equal(images[index], image)
        np.testing.assert_array_equal(labels[index, ..., 0], inst_map)
        np.testing.assert_array_equal(labels[index, ..., 1], class_map)


def test_patches_that_are_written_are_not_read_again(folder, write):
    read, steps = [], []

    def stop_at_six(index):
        if index == 6:
            raise KeyboardInterrupt
        return make_patch(index)

    def spy(index):
        read.append(index)
        return make_patch(index)

    with pytest.raises(KeyboardInterrupt):
        write(stop_at_six)
    write(spy, advance=steps.append)
    assert read == list(range(4, 10)) and steps == [4, 4, 2]
    images, *_ = read_patches(str(folder.part))
    np.testing.assert_array_equal(images[5], make_patch(5)[0])


def test_large_patches_are_written_singly(write, monkeypatch):
    monkeypatch.setattr(patch_writer, 'CHUNK_BYTES', 100)
    steps = []
    write(advance=steps.append)
    assert steps == [0] + [1] * 10


@pytest.mark.parametrize(('change', 'expected'), [
    (lambda image, inst, cls: (image[:9], inst, cls), r'p_0: \(9, 16\) .* \(16, 16\)'),
    (lambda image, inst, cls: (image, inst, cls[:, :9]), r'p_0: \(16, 9\)'),
    (lambda image, inst, cls: (image.astype(float), inst, cls), 'p_0: image float64'),
    (lambda image, inst, cls: (image[..., :1], inst, cls), r'image uint8 \(16, 16, 1'),
    (lambda image, inst, cls: (image, inst, cls + 2), 'p_0: class id 4'),
    (lambda image, inst, cls: (image, inst, -cls), 'p_0: class id -2; ids must not'),
    (lambda image, inst, cls: (image, -inst, cls), 'p_0: instance id -300'),
    (lambda image, inst, cls: (image, inst * 1000, cls), 'p_0: instance id 300000'),
])
def test_a_wrong_patch_is_named(write, change, expected):
    with pytest.raises(ValueError, match=expected):
        write(lambda index: change(*make_patch(index)))


def test_the_file_that_a_wrong_patch_is_from_is_named(write):
    with pytest.raises(ValueError, match=r'src/labels\.npy\[5\] \(p_5\): class id 9'):
        write(lambda index: make_patch(index, class_id=9 if index == 5 else 1),
              source=Path('src/labels.npy'))


def test_no_room_on_the_disk_is_said_before_anything_is_read(write, monkeypatch):

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'posix_fallocate', fail)
    with pytest.raises(OSError, match=r'images\.npy: no room for 0 MB \(No space left'):
        write(lambda index: pytest.fail('was read'))
