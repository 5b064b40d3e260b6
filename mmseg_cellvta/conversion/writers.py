# Copyright (c) CellVTA-MMSeg contributors.
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.format import open_memmap

from ..datasets.labels import (
    IMAGE_DIR,
    LABEL_DIR,
    PATCH_IMAGES,
    PATCH_INFO,
    PATCH_LABELS,
    check_labels,
    count_nuclei,
    natural_key,
    write_info,
    write_rows,
)
from ..utils.files import PendingFolder
from ..utils.images import read_image, read_image_size
from ..utils.tiling import tile_starts
from .summary import DatasetSummary

CHUNK = 64  # patches between two records of the progress, at most
CHUNK_BYTES = 64 << 20  # what they may take together
MAX_ID = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class LabelledImage:
    """A picture to convert, and where its labels are.

    Attributes:
        name (str): Name in the converted data set.
        img_path (Path): The picture.
        label_path (Path): The labels.
        class_path (Path, optional): Map of classes, where it is a file of its own.
        part (str): Part of the data set, such as 'train'.
    """
    name: str
    img_path: Path
    label_path: Path
    class_path: Path | None = None
    part: str = ''

    @property
    def files(self) -> list[Path]:
        """Every file that it is read from."""
        paths = (self.img_path, self.label_path, self.class_path)
        return [path for path in paths if path is not None]


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut into square tiles; the last one ends at the border.

    Attributes:
        size (int): Side of a tile, px; 0 leaves pictures whole.
        overlap (int): What two neighbours share at least, px.

    Raises:
        ValueError: If the tiles do not advance.
    """
    size: int = 0
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.size < 0 or not 0 <= self.overlap < max(self.size, 1):
            raise ValueError(
                f'tiles of {self.size} px with an overlap of {self.overlap} px: '
                'expected a size above 0, and an overlap from 0 to less than the size')

    def windows(self, name: str,
                shape: tuple[int, int]) -> dict[str, tuple[slice, slice]]:
        """Name and place of each tile, such as ``train_1_r0000_c0236``.

        Args:
            name (str): Name of the picture.
            shape (tuple[int, int]): (height, width) px.

        Raises:
            ValueError: If the picture is smaller than a tile.
        """
        if not self.size:
            return {name: (slice(None), slice(None))}
        if min(shape) < self.size:
            raise ValueError(f'{name}: {shape[1]} x {shape[0]} px, smaller than a tile '
                             f'of {self.size} x {self.size} px; choose smaller tiles')
        starts = (tile_starts(length, self.size, self.size - self.overlap)
                  for length in shape)
        return {
            f'{name}_r{top:04d}_c{left:04d}': (
                slice(top, top + self.size), slice(left, left + self.size))
            for top, left in product(*starts)
        }


def add_tile_options(parser: ArgumentParser) -> None:
    """Add the options that say how a converter cuts pictures."""
    parser.add_argument('--tile', type=int, default=0, metavar='PX',
                        help='cut pictures into tiles of PX x PX (default: whole)')
    parser.add_argument('--overlap', type=int, default=0, metavar='PX',
                        help='what neighbouring tiles share (default: 0)')


def read_tile_options(args: Namespace) -> Tiling:
    """The tiles that the options ask for."""
    return Tiling(args.tile, args.overlap)


class FolderWriter:
    """Writes pictures and labels as ``CellFolderDataset`` reads them.

    One picture is in memory at a time. Those that are written already, and whose files
    did not change since, are passed over.

    Args:
        folder (PendingFolder): The data set under construction.
        pictures (Sequence[LabelledImage]): What to write, with unique names.
        tiling (Tiling): How to cut them.
        classes (Sequence[str]): Class names, background first.

    Raises:
        FileNotFoundError: If a picture is missing.
        ValueError: If a picture is damaged or smaller than a tile.
    """

    def __init__(self, folder: PendingFolder, pictures: Sequence[LabelledImage],
                 tiling: Tiling, classes: Sequence[str]) -> None:
        self.root = folder.part
        self.pictures = sorted(pictures, key=lambda item: natural_key(item.name))
        self.windows = {
            picture.name: tiling.windows(picture.name, read_image_size(picture.img_path))
            for picture in self.pictures
        }
        self.classes = list(classes)

    def write(self, read_labels: Callable,
              advance: Callable[[], None] = lambda: None) -> None:
        """Write every picture that is not written yet.

        Args:
            read_labels: Called with a picture and its (height, width) px; returns
                instance map and class map, integer (H, W).
            advance: Called after each picture.

        Raises:
            ValueError: If a label is wrong (see ``check_labels``) or of another size
                than its picture.
        """
        for name in (IMAGE_DIR, LABEL_DIR):
            (self.root / name).mkdir(exist_ok=True)
        for picture in self.pictures:
            if not self._is_written(picture):
                self._put(picture, read_labels)
            advance()

    def finish(self, palette: Sequence[Sequence[int]], mpp: float) -> DatasetSummary:
        """Write what describes the data set, and count what is in it."""
        names: dict[str, list[str]] = {}
        for part in ('train', 'val', 'test'):
            listed = [name for picture in self.pictures if picture.part == part
                      for name in self.windows[picture.name]]
            if listed:
                names[part] = listed
                text = '\n'.join(listed) + '\n'
                (self.root / f'{part}.txt').write_text(text, encoding='utf-8')
        self._remove_others({name for listed in names.values() for name in listed})
        write_info(self.root, self.classes, palette, mpp)
        summary = DatasetSummary(self.classes[1:])
        for part, listed in names.items():
            for name in listed:
                labels = np.load(self._label_path(name))
                counts = count_nuclei(
                    labels[..., 0], labels[..., 1], len(self.classes))
                summary.add(part, labels.shape[:2], counts)
        return summary

    def _label_path(self, name: str) -> Path:
        return self.root / LABEL_DIR / f'{name}.npy'

    def _is_written(self, picture: LabelledImage) -> bool:
        paths = [self._label_path(name) for name in self.windows[picture.name]]
        if not all(path.is_file() for path in paths):
            return False
        # ctime moves when another file takes the place, even one with an old mtime.
        changed = max(os.stat(path).st_ctime_ns for path in picture.files)
        return changed < min(os.stat(path).st_mtime_ns for path in paths)

    def _put(self, picture: LabelledImage, read_labels: Callable) -> None:
        image = read_image(picture.img_path)
        inst_map, class_map = read_labels(picture, image.shape[:2])
        for path, array in ((picture.label_path, inst_map),
                            (picture.class_path or picture.label_path, class_map)):
            if array.shape != image.shape[:2]:
                raise ValueError(
                    f'{path}: {array.shape} (rows, columns) px, its picture '
                    f'{picture.img_path.name} {image.shape[:2]}; they must be equal')
        check_labels(inst_map, class_map, len(self.classes), str(picture.label_path))
        for name, window in self.windows[picture.name].items():
            self._write_image(name, image[window])
            self._write_labels(name, inst_map[window], class_map[window])

    def _write_image(self, name: str, image: np.ndarray) -> None:
        path = self.root / IMAGE_DIR / f'{name}.png'
        if not cv2.imwrite(str(path), image[..., ::-1]):
            raise OSError(f'{path}: cannot be written; is there room on the disk?')

    def _write_labels(self, name: str, inst_map: np.ndarray,
                      class_map: np.ndarray) -> None:
        """Last and at once: a label file says that picture and labels are complete."""
        path = self._label_path(name)
        inst_map = number_from_one(inst_map)
        labels = np.stack([inst_map, np.where(inst_map > 0, class_map, 0)], axis=-1)
        pending = path.with_suffix('.new')
        with open(pending, 'wb') as file:
            np.save(file, labels.astype(np.int32))
        os.replace(pending, path)

    def _remove_others(self, names: set[str]) -> None:
        """Delete what an earlier, interrupted run wrote of pictures now gone."""
        for folder, suffix in ((IMAGE_DIR, '.png'), (LABEL_DIR, '.npy')):
            expected = {f'{name}{suffix}' for name in names}
            for path in (self.root / folder).iterdir():
                if path.name not in expected:
                    path.unlink()


def number_from_one(inst_map: np.ndarray) -> np.ndarray:
    """Ids 1..N without gaps, in the order of the old ones; 0 stays background."""
    present = np.zeros(int(inst_map.max(initial=0)) + 1, bool)
    present[inst_map] = True
    present[0] = False
    return np.cumsum(present, dtype=np.int32)[inst_map]


class PatchWriter:
    """Writes patches of one size as CoNIC distributes them (see ``patch_arrays``).

    Memory stays flat, also as the system counts it: pages of a mapped file belong to
    the process until it is unmapped, hence the arrays are mapped anew for each chunk.

    Args:
        folder (PendingFolder): The data set under construction.
        name (str): Folder of these patches in it; '' for the data set's own.
        rows (list[dict]): Row of ``patch_info.csv`` for each patch.
        shape (tuple[int, int]): (height, width) of every patch, px.
        num_classes (int): Length of the class list, background included.
        source (str | Path, optional): File whose entry i becomes patch i, for errors.
    """

    def __init__(self, folder: PendingFolder, name: str, rows: list[dict],
                 shape: tuple[int, int], num_classes: int,
                 source: str | Path | None = None) -> None:
        self.folder = folder
        self.name = name
        self.rows = rows
        self.shape = tuple(shape)
        self.num_classes = num_classes
        self.source = source
        self.layout = {PATCH_IMAGES: ((len(rows), *shape, 3), np.uint8),
                       PATCH_LABELS: ((len(rows), *shape, 2), np.uint16)}

    def write(self, read: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]],
              advance: Callable[[int], None] = lambda count: None) -> None:
        """Write every patch that is not written yet.

        Args:
            read: Called with an index; returns image uint8 (H, W, 3) RGB, instance map
                and class map (H, W).
            advance: Called with the number of patches that were finished since.

        Raises:
            ValueError: If a label is wrong (see ``check_labels``) or a patch has
                another size or dtype.
            OSError: If the disk has no room for all patches.
        """
        target = self.folder.part / self.name
        target.mkdir(exist_ok=True)
        num, step = len(self.rows), self.name or PATCH_IMAGES
        done = self.folder.progress(step)
        if done == 0:
            for file_name, (shape, dtype) in self.layout.items():
                _allocate(target / file_name, shape, dtype)
        advance(done)
        chunk = max(1, min(CHUNK, CHUNK_BYTES // (7 * self.shape[0] * self.shape[1])))
        for start in range(done, num, chunk):
            stop = min(start + chunk, num)
            self._write_chunk(target, read, range(start, stop))
            self.folder.record(step, stop)
            advance(stop - start)
        write_rows(target / PATCH_INFO, self.rows)

    def _write_chunk(self, target: Path, read: Callable, indices: range) -> None:
        images, labels = (open_memmap(target / file_name, mode='r+')
                          for file_name in self.layout)
        for index in indices:
            image, inst_map, class_map = read(index)
            self._check(index, image, inst_map, class_map)
            images[index] = image
            labels[index, ..., 0] = inst_map
            labels[index, ..., 1] = class_map
        images.flush()
        labels.flush()

    def _check(self, index: int, image: np.ndarray, inst_map: np.ndarray,
               class_map: np.ndarray) -> None:
        name = self.rows[index]['patch_info']
        if self.source is not None:
            name = f'{self.source}[{index}] ({name})'
        for array in (image, inst_map, class_map):
            if array.shape[:2] != self.shape:
                raise ValueError(f'{name}: {array.shape[:2]} (rows, columns) px, '
                                 f'expected {self.shape} as in the other patches')
        if image.dtype != np.uint8 or image.shape[2:] != (3, ):
            raise ValueError(f'{name}: image {image.dtype} {image.shape}; expected '
                             'uint8 (H, W, 3), RGB')
        check_labels(inst_map, class_map, self.num_classes, name)
        if inst_map.max(initial=0) > MAX_ID:
            raise ValueError(f'{name}: instance id {inst_map.max()}; number the nuclei '
                             f'of a patch from 1 to at most {MAX_ID}')


def _allocate(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Make an array of zeros with its room on disk, which a write could not ask for.

    On a full disk, writing into the map of a file with holes kills the process.
    """
    open_memmap(path, mode='w+', shape=shape, dtype=dtype)
    size = path.stat().st_size
    with open(path, 'r+b') as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise OSError(f'{path}: no room for {size / 1e6:.0f} MB ({error.strerror})'
                          ) from error
