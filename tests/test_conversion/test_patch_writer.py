# Copyright (c) CellVTA-MMSeg contributors.
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mmseg_cellvta.conversion import writers as patch_writer
from mmseg_cellvta.conversion.writers import PatchWriter
from mmseg_cellvta.datasets.labels import read_patches
from mmseg_cellvta.utils.files import PendingFolder

SIDE = 16
ROWS = [dict(patch_info=f'p_{index}', tissue='Colon') for index in range(10)]


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


def test_what_is_written_is_not_read_again(folder, write):
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
