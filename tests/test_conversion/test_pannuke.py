# Copyright (c) CellVTA-MMSeg contributors.
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from interrupted import run_and_kill
from pannuke_files import TISSUES, write_fold
from rich.progress import Progress

from mmseg_cellvta.conversion import pannuke, writers
from mmseg_cellvta.conversion.pannuke import convert_pannuke, merge_channels, to_uint8
from mmseg_cellvta.datasets import PanNukeCellDataset
from mmseg_cellvta.datasets.labels import read_patches

ARRAYS = ('images.npy', 'labels.npy', 'patch_info.csv')


@pytest.fixture
def src(tmp_path):
    return tmp_path / 'src'


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def convert(src, out):
    return convert_pannuke(src, out, Progress(disable=True))


def published_maps(mask):
    """The conversion of the reference, section 1.4, step by step."""

    def number(layer):
        with_zero = np.append(layer, 0)
        return np.unique(with_zero, return_inverse=True)[1][:-1].reshape(layer.shape)

    inst_map, class_map = np.zeros((2, *mask.shape[:2]), int)
    offset = 0
    for channel in range(5):
        layer = number(mask[..., channel])
        inst_map = np.where(layer > 0, layer + offset, inst_map)
        class_map = np.where(layer > 0, channel + 1, class_map)
        offset += layer.max()
    return number(inst_map), class_map


def test_random_overlaps_come_out_as_in_the_reference():
    rng = np.random.default_rng(3)
    for _ in range(20):  # of which the later channel wins
        mask = rng.integers(0, 4, (24, 24, 6)) * rng.integers(0, 2, (24, 24, 6)) * 97
        inst_map, class_map = merge_channels(mask.astype(np.float64), 'x')
        assert inst_map.dtype == np.int32 and class_map.dtype == np.uint8
        np.testing.assert_array_equal([inst_map, class_map], published_maps(mask))


@pytest.mark.parametrize(('image_dtype', 'mask_dtype'), [
    (np.float64, np.float64), (np.uint8, np.uint16), (np.int64, np.float32),
    (np.float32, np.int32), (np.uint16, '>f8')])
def test_every_dtype_becomes_the_same_data_set(src, out, image_dtype, mask_dtype):
    write_fold(src / 'fold2', image_dtype=image_dtype, mask_dtype=mask_dtype)
    convert(src, out)
    images, labels, rows = read_patches(str(out / 'fold2'))
    assert images.dtype == np.uint8 and labels.dtype == np.uint16
    np.testing.assert_array_equal(images, np.load(src / 'fold2/images.npy'))
    for index, mask in enumerate(np.load(src / 'fold2/masks.npy')):
        inst_map, class_map = published_maps(mask)
        np.testing.assert_array_equal(labels[index, ..., 0], inst_map)
        np.testing.assert_array_equal(labels[index, ..., 1], class_map)
    assert rows == [dict(patch_info=f'fold2_{index:04d}', tissue=tissue)
                    for index, tissue in enumerate(TISSUES)]


def nest(root, outer, number):
    """Put a fold into folders as the official archives have them."""
    flat = write_fold(root / 'flat', num=3 + number)
    for part, names in dict(images=('images', 'types'), masks=('masks', )).items():
        folder = root / outer / part / f'fold{number}'
        folder.mkdir(parents=True)
        for name in names:
            (flat / f'{name}.npy').rename(folder / f'{name}.npy')
    flat.rmdir()
    (root / outer / 'masks' / 'README.md').write_text('PanNuke')


def test_official_folders_are_taken_as_they_are(src, out):
    for outer, number in {'Fold 1': 1, 'fold_2': 2}.items():
        nest(src, outer, number)
    write_fold(src / 'Fold3' / 'all', num=6)
    (src / 'Fold 1.zip').write_text('left there')
    summary, remarks = convert(src, out)
    dataset = PanNukeCellDataset(data_root=str(out), folds=[1, 2, 3])
    assert len(dataset) == 4 + 5 + 6
    assert summary.sizes == {(32, 32): 15} and remarks == []


def test_the_folds_that_are_there_are_converted_and_the_others_named(src, out):
    write_fold(src / 'fold2')
    summary, remarks = convert(src, out)
    assert remarks == [f'fold {number} is not in {src}, so there is no fold{number}'
                       for number in (1, 3)]
    assert summary.images == dict(fold2=4) and summary.empty == dict(fold2=1)
    assert sorted(path.name for path in out.iterdir()) == ['conversion.json', 'fold2']
    assert sorted(path.name for path in (out / 'fold2').iterdir()) == sorted(ARRAYS)


def resident_mb():
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if 'VmRSS' in line) / 1024


def test_large_files_are_never_in_memory_as_a_whole(src, out, monkeypatch):
    """64 images with 100 MB of masks and 50 MB of images, 29 MB converted."""
    monkeypatch.setattr(writers, 'PATCHES_PER_CHUNK', 8)
    write_fold(src / 'fold1', num=64, side=256, image_dtype=np.float32,
               mask_dtype=np.float32)
    readings = [resident_mb()]
    read_item = pannuke.read_item

    def spy(*args):
        item = read_item(*args)
        readings.append(resident_mb())
        return item

    monkeypatch.setattr(pannuke, 'read_item', spy)
    tracemalloc.start()
    try:
        convert(src, out)
        _, allocated = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert allocated < 15e6  # what is read into arrays, also for a moment
    assert len(readings) == 129
    assert max(readings) - readings[0] < 22  # what is mapped


def test_it_does_not_go_on_with_other_files(src, out, monkeypatch):
    monkeypatch.setattr(writers, 'PATCHES_PER_CHUNK', 4)
    write_fold(src / 'fold1', num=11)
    run_and_kill(
        lambda progress: convert_pannuke(src, out, progress), kill_at=4)
    masks = np.load(src / 'fold1/masks.npy')
    np.save(src / 'fold1/masks.npy', masks.astype(np.uint16))
    with pytest.raises(FileExistsError, match=(
            r'out\.part: begun with other settings, .*fold1/masks\.npy=\[')):
        convert(src, out)
    assert not out.exists()


def replace(path, index, value):
    array = np.load(path)
    array[index] = value
    np.save(path, array)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(('damage', 'expected'), [
    (lambda fold: (fold / 'types.npy').unlink(), 'fold1/types.npy: no such file'),
    (lambda fold: truncate(fold / 'types.npy'), 'types.npy: not a complete .npy file'),
    (lambda fold: np.save(fold / 'masks.npy', np.zeros((3, 32, 32, 6))),
     'masks.npy: shape (3, 32, 32, 6) does not match images.npy'),
    (lambda fold: np.save(fold / 'masks.npy', np.zeros((4, 32, 32, 2))),
     'masks.npy: shape (4, 32, 32, 2); expected (N, H, W, 6)'),
    (lambda fold: np.save(fold / 'images.npy', np.zeros((4, 32, 32), np.uint8)),
     'images.npy: shape (4, 32, 32); expected (N, H, W, 3)'),
    (lambda fold: np.save(fold / 'images.npy', np.zeros((0, 32, 32, 3))),
     'images.npy: holds no image'),
    (lambda fold: np.save(fold / 'masks.npy', np.zeros((4, 32, 32, 6), bool)),
     'masks.npy: dtype bool; expected numbers'),
    (lambda fold: np.save(fold / 'types.npy', np.array(['Breast'] * 3)),
     'types.npy: <U6 (3,); expected 4 strings'),
    (lambda fold: np.save(fold / 'types.npy', np.arange(4)),
     'types.npy: int64 (4,); expected 4 strings'),
    (lambda fold: replace(fold / 'types.npy', 2, ''), 'types.npy[2]: no tissue'),
    (lambda fold: replace(fold / 'masks.npy', (2, 5, 6, 3), 1.5),
     'masks.npy[2]: 1.5 at row 5, column 6, channel 3; expected instance ids'),
    (lambda fold: replace(fold / 'masks.npy', (3, 5, 6, 0), np.nan),
     'masks.npy[3]: nan at row 5'),
    (lambda fold: replace(fold / 'masks.npy', (0, 5, 6, 0), -1),
     'masks.npy[0]: -1.0 at row 5'),
    (lambda fold: replace(fold / 'images.npy', (2, 5, 6, 0), 256),
     'images.npy[2]: values from 0.0 to 256.0; expected 0 to 255'),
    (lambda fold: replace(fold / 'images.npy', (1, 5, 6, 0), np.nan),
     'images.npy[1]: values from nan to nan'),
    (lambda fold: (fold.parent / 'fold1b').mkdir() or (
        fold.rename(fold.parent / 'other')), 'src: no folder fold1, fold2 or fold3'),
    (lambda fold: write_fold(fold.parent / 'Fold 1'), 'are both fold 1'),
    (lambda fold: write_fold(fold.parent / 'fold0'), 'fold0: PanNuke has the folds 1'),
    (lambda fold: write_fold(fold / 'deeper'), 'which images.npy of'),
])
def test_bad_input_is_named_and_nothing_appears(src, out, damage, expected):
    damage(write_fold(src / 'fold1'))
    with pytest.raises((OSError, ValueError), match=re.escape(expected)):
        convert(src, out)
    assert not out.exists()


def test_images_of_fractions_are_rounded_unless_they_end_at_1():
    image = np.array([0.2, 254.6, 255.0])
    assert to_uint8(image, 'x').tolist() == [0, 255, 255]
    with pytest.raises(ValueError, match='x: values from .* multiply them by 255'):
        to_uint8(image / 255, 'x')
    assert to_uint8(np.zeros(3), 'x').tolist() == [0, 0, 0]
