# Copyright (c) CellVTA-MMSeg contributors.
import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from little_room import little_room
from own_data import SHAPE, label_maps, write_image
from rich.progress import Progress

from mmseg_cellvta.conversion import writers
from mmseg_cellvta.conversion.writers import (
    FolderWriter,
    LabelledImage,
    PatchWriter,
    Tiling,
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


@pytest.mark.parametrize(('size', 'overlap'), [(-1, 0), (20, 20), (20, -1), (0, 5)])
def test_tiles_that_do_not_advance_are_refused(size, overlap):
    with pytest.raises(ValueError, match=f'tiles of {size} px'):
        Tiling(size, overlap)


def read_maps(image, shape):
    return label_maps()


@pytest.fixture
def images(tmp_path):
    """Images a_1, a_2 and a_10."""
    found = []
    for name, part in dict(a_10='test', a_1='train', a_2='train').items():
        write_image(tmp_path / f'{name}.png')
        (tmp_path / f'{name}.txt').touch()
        found.append(LabelledImage(
            name, tmp_path / f'{name}.png', tmp_path / f'{name}.txt', part=part))
    return found


@pytest.fixture
def start(tmp_path, images):

    def make_writer(tiling=WHOLE, chosen=images):
        folder = PendingFolder(tmp_path / 'out', dict(tile=tiling.size))
        return FolderWriter(folder, chosen, tiling, CLASSES)

    return make_writer


@pytest.fixture
def convert(start, tmp_path):
    """Writes and finishes; returns the folder and the summary."""

    def convert(read=read_maps, tiling=WHOLE, **kwargs):
        writer = start(tiling, **kwargs)
        writer.write(read, Progress(disable=True))
        return tmp_path / 'out', writer.finish(PALETTE, 0.25)

    return convert


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_laid_out_for_the_dataset(convert):
    root, summary = convert()
    assert (root / 'train.txt').read_text() == 'a_1\na_2\n'
    assert (root / 'test.txt').read_text() == 'a_10\n'
    assert not (root / 'val.txt').exists()
    assert json.loads((root / 'dataset.json').read_text()) == dict(
        classes=CLASSES, palette=PALETTE, mpp=0.25)
    image = cv2.imread(str(root / 'Images/a_1.png'))
    assert image.shape == (*SHAPE, 3) and image[0, 0].tolist() == [10, 120, 200]
    assert summary.nuclei['train'].tolist() == [2, 4]
    assert summary.nuclei['test'].tolist() == [1, 2]
    assert summary.sizes == {SHAPE: 3}


def test_ids_are_numbered_from_one_in_their_order(convert):
    root, _ = convert()
    labels = np.load(root / 'Labels/a_1.npy')
    inst_map, class_map = label_maps()  # ids 3, 7 and 900
    assert labels.dtype == np.int32
    for new, old in enumerate([3, 7, 900], 1):
        assert ((labels[..., 0] == new) == (inst_map == old)).all()
    assert (labels[..., 1] == class_map).all()


@pytest.mark.parametrize('inst_map', [
    label_maps()[0], np.full(SHAPE, 9), np.zeros(SHAPE, int)])
def test_class_of_pixels_without_nucleus_is_background(convert, inst_map):
    root, _ = convert(lambda image, shape: (inst_map, np.full(SHAPE, 2)))
    labels = np.load(root / 'Labels/a_1.npy')
    assert ((labels[..., 0] > 0) == (inst_map > 0)).all()
    assert (labels[..., 1] == 2 * (inst_map > 0)).all()
    assert labels[..., 0].max() == len(np.unique(inst_map[inst_map > 0]))


def test_tiles_hold_what_is_there_and_number_it_anew(convert, images):
    root, summary = convert(tiling=Tiling(30, 10))
    assert names_in(root / 'Images')[0] == 'a_10_r0000_c0000.png'
    assert (root / 'test.txt').read_text().splitlines() == [
        f'a_10_r{top:04d}_c{left:04d}' for top in (0, 10) for left in (0, 20, 30)]
    labels = np.load(root / 'Labels/a_1_r0010_c0030.npy')
    assert labels.shape == (30, 30, 2)
    assert (labels[20:, 20:] == [1, 2]).all() and (labels > 0).sum() == 200
    image = cv2.imread(str(root / 'Images/a_1_r0010_c0030.png'))
    whole = cv2.imread(str(images[0].img_path))
    assert (image == whole[10:, 30:]).all()
    assert summary.images == dict(train=12, test=6)


def test_small_image_is_found_before_anything_is_written(start):
    with pytest.raises(ValueError, match='a_1: 60 x 40 px, smaller than a tile of 50'):
        start(Tiling(50))


@pytest.mark.parametrize(('maps', 'message'), [
    ((np.zeros((40, 61), int), np.zeros((40, 61), int)),
     r'a_1.txt: \(40, 61\) \(rows, columns\) px, its image a_1.png \(40, 60\)'),
    ((np.zeros(SHAPE, int), np.zeros((41, 60), int)), r'a_1.txt: \(41, 60\)'),
    ((np.ones(SHAPE, int), np.full(SHAPE, 3)), r'a_1.txt: class id 3 \(instance 1\)')])
def test_wrong_labels_are_named(convert, tmp_path, maps, message):
    with pytest.raises(ValueError, match=message):
        convert(lambda image, shape: maps)
    assert not (tmp_path / 'out').exists()


def test_what_is_written_is_not_read_again(convert):
    seen, again = [], []

    def read_two(image, shape):
        if len(seen) == 2:
            raise ValueError('stop')
        seen.append(image.name)
        return label_maps()

    with pytest.raises(ValueError, match='stop'):
        convert(read_two)
    convert(lambda image, shape: again.append(image.name) or label_maps())
    assert (seen, again) == (['a_1', 'a_2'], ['a_10'])


def test_corrected_file_is_read_again(start, convert, images):
    start().write(read_maps, Progress(disable=True))
    new = images[2].label_path.with_suffix('.new')
    new.touch()
    os.utime(new, (1, 1))  # as old as an unpacked archive
    os.replace(new, images[2].label_path)
    again = []
    convert(lambda image, shape: again.append(image.name) or label_maps())
    assert again == ['a_2']


def test_image_taken_away_in_between_leaves_no_trace(start, convert, images):
    start().write(read_maps, Progress(disable=True))
    root, _ = convert(chosen=images[:2])
    assert names_in(root / 'Images') == ['a_1.png', 'a_10.png']
    assert names_in(root / 'Labels') == ['a_1.npy', 'a_10.npy']


def test_full_disk_is_an_error(convert):
    with pytest.raises(OSError, match='File too large.*a_1.png'), little_room():
        convert()


def make_patch(index):
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    inst_map = np.zeros((SIDE, SIDE), np.int32)
    inst_map[2:6, 2:8], inst_map[9:12, 2:8] = 1, 300
    return image, inst_map, np.where(inst_map > 0, 2, 0)


@pytest.fixture
def folder(tmp_path):
    return PendingFolder(tmp_path / 'out', dict(source='here'))


class RecordedProgress(Progress):
    """Remembers how many patches of a bar were done at first, and each step since."""

    def __init__(self):
        super().__init__(disable=True)
        self.steps = []

    def add_task(self, *args, completed=0, **kwargs):
        self.steps.append(completed)
        return super().add_task(*args, completed=completed, **kwargs)

    def advance(self, task_id, advance=1):
        self.steps.append(advance)


@pytest.fixture
def write(folder):
    """Writes the patches; returns the steps of the progress."""

    def write(read=make_patch, name=''):
        progress = RecordedProgress()
        PatchWriter(folder, name, ROWS, (SIDE, SIDE), 4, Path('labels.npy')).write(
            read, progress)
        return progress.steps

    return write


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(writers, 'PATCHES_PER_CHUNK', 4)


@pytest.mark.parametrize('name', ['', 'fold1'])
def test_patches_read_back(folder, write, name):
    assert write(name=name) == [0, 4, 4, 2]
    images, labels, rows = read_patches(str(folder.part / name))
    assert rows == ROWS
    for index in range(10):
        image, inst_map, class_map = make_patch(index)
        np.testing.assert_array_equal(images[index], image)
        np.testing.assert_array_equal(labels[index, ..., 0], inst_map)
        np.testing.assert_array_equal(labels[index, ..., 1], class_map)


def test_patches_that_are_written_are_not_read_again(folder, write):
    read = []

    def stop_at_six(index):
        if index == 6:
            raise KeyboardInterrupt
        return make_patch(index)

    def spy(index):
        read.append(index)
        return make_patch(index)

    with pytest.raises(KeyboardInterrupt):
        write(stop_at_six)
    assert write(spy) == [4, 4, 2] and read == list(range(4, 10))
    images, *_ = read_patches(str(folder.part))
    np.testing.assert_array_equal(images[5], make_patch(5)[0])


def test_large_patches_are_written_singly(write, monkeypatch):
    monkeypatch.setattr(writers, 'BYTES_PER_CHUNK', 100)
    assert write() == [0] + [1] * 10


@pytest.mark.parametrize(('change', 'expected'), [
    (lambda image, inst, cls: (image[:9], inst, cls), r'\(9, 16\) .* \(16, 16\)'),
    (lambda image, inst, cls: (image, inst, cls[:, :9]), r'\(16, 9\)'),
    (lambda image, inst, cls: (image.astype(float), inst, cls), 'image float64'),
    (lambda image, inst, cls: (image[..., :1], inst, cls), r'image uint8 \(16, 16, 1'),
    (lambda image, inst, cls: (image, inst, cls + 2), 'class id 4'),
    (lambda image, inst, cls: (image, inst * 1000, cls), 'instance id 300000')])
def test_a_wrong_patch_is_named(write, change, expected):
    with pytest.raises(ValueError, match=r'labels\.npy\[5\] \(p_5\): ' + expected):
        write(lambda index: change(*make_patch(index)) if index == 5
              else make_patch(index))


def test_no_room_on_the_disk_is_said_before_anything_is_read(write, monkeypatch):

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'posix_fallocate', fail)
    with pytest.raises(OSError, match=r'images\.npy: no room for 0 MB \(No space left'):
        write(lambda index: pytest.fail('was read'))
