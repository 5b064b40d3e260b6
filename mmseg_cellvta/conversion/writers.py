# Copyright (c) CellVTA-MMSeg contributors.
"""Images and labels, written as the data sets read them: as a folder or as arrays.

Both writers pass over what an earlier, interrupted run has written.
"""
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from natsort import natsorted, ns
from numpy.lib.format import open_memmap
from rich.progress import Progress
from skimage.segmentation import relabel_sequential

from ..datasets.labels import (
    IMAGE_DIR,
    LABEL_DIR,
    PATCH_IMAGES,
    PATCH_INFO,
    PATCH_LABELS,
    check_labels,
    write_info,
    write_rows,
)
from ..utils.files import PendingFolder, complete_file
from ..utils.images import read_image, read_image_size, write_image
from ..utils.names import check_image_names
from ..utils.tiling import tile_starts
from .summary import DatasetSummary

PARTS = ('train', 'val', 'test')
PATCHES_PER_CHUNK = 64  # written between two records of the progress, at most
BYTES_PER_CHUNK = 64 << 20  # of these patches together, at most
BYTES_PER_PIXEL = 7  # three of the image, four of the labels
MAX_PATCH_ID = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class LabelledImage:
    """An image to convert, and the files of its labels.

    Attributes:
        name: Name in the converted data set.
        img_path: The image.
        label_path: The labels.
        class_path: The class map, where it is a file of its own.
        part: Part of the data set: 'train', 'val' or 'test'; '' before it is divided.
    """
    name: str
    img_path: Path
    label_path: Path
    class_path: Path | None = None
    part: str = ''

    @property
    def files(self) -> list[Path]:
        """Every file that the image and its labels are read from."""
        return [path for path in (self.img_path, self.label_path, self.class_path)
                if path is not None]


@dataclass(frozen=True)
class Tiling:
    """Square tiles that cover an image; the last ones end at its border.

    Attributes:
        size: Side of a tile, px; 0 leaves images whole.
        overlap: Least overlap of two neighbours, px.

    Raises:
        ValueError: When the tiles do not advance.
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
        """Returns the window of each tile by its name, such as `a_r0000_c0236`.

        Args:
            name: Name of the image.
            shape: (height, width) of the image, px.

        Raises:
            ValueError: When the image is smaller than a tile.
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


class FolderWriter:
    """Writes images and labels as `CellFolderDataset` reads them.

    One image is in memory at a time. An image whose files have changed since it was
    written is written again.

    Args:
        folder: The data set under construction.
        images: What to write.
        tiling: How to cut the images.
        classes: Class names, background first.

    Raises:
        FileNotFoundError: When an image is missing.
        ValueError: When an image is damaged or smaller than a tile, or a name is wrong.
    """

    def __init__(self, folder: PendingFolder, images: Sequence[LabelledImage],
                 tiling: Tiling, classes: Sequence[str]) -> None:
        self.folder = folder
        self.root = folder.part
        check_image_names([image.name for image in images], str(folder.path))
        by_name = {image.name: image for image in images}
        # As `CellFolderDataset` lists them.
        self.images = [by_name[name] for name in natsorted(by_name, alg=ns.PRESORT)]
        self.windows = {
            image.name: tiling.windows(image.name, read_image_size(image.img_path))
            for image in self.images
        }
        self.classes = list(classes)

    def write(self, read_labels: Callable[[LabelledImage, tuple[int, int]],
                                          tuple[np.ndarray, np.ndarray]],
              progress: Progress) -> None:
        """Writes every image that is not written yet.

        Args:
            read_labels: Called with an image and its (height, width) px; returns
                instance map and class map, integer (H, W).
            progress: Gets a bar.

        Raises:
            ValueError: When a label is wrong (see `check_labels`) or not of the size
                of its image.
        """
        for name in (IMAGE_DIR, LABEL_DIR):
            (self.root / name).mkdir(exist_ok=True)
        task = progress.add_task('images', total=len(self.images))
        for image in self.images:
            if not self._is_written(image):
                self._write(image, read_labels)
            progress.advance(task)

    def finish(self, palette: Sequence[Sequence[int]], mpp: float) -> DatasetSummary:
        """Describes the data set, gives its folder its name, and counts what is in it.

        Args:
            palette: Colour of each class, RGB, 0-255.
            mpp: Size of a pixel, µm.
        """
        summary = DatasetSummary(self.classes[1:])
        for part in PARTS:
            names = [name for image in self.images if image.part == part
                     for name in self.windows[image.name]]
            for name in names:
                summary.add(part, np.load(self._label_path(name)))
            if names:
                text = '\n'.join(names) + '\n'
                (self.root / f'{part}.txt').write_text(text, encoding='utf-8')
        self._remove_others()
        write_info(self.root, self.classes, palette, mpp)
        self.folder.publish()
        return summary

    def _label_path(self, name: str) -> Path:
        return self.root / LABEL_DIR / f'{name}.npy'

    def _is_written(self, image: LabelledImage) -> bool:
        paths = [self._label_path(name) for name in self.windows[image.name]]
        # ctime moves when another file takes the place, even one with an old mtime.
        changed = max(path.stat().st_ctime_ns for path in image.files)
        return all(path.is_file() and path.stat().st_mtime_ns > changed
                   for path in paths)

    def _write(self, image: LabelledImage, read_labels: Callable) -> None:
        pixels = read_image(image.img_path)
        inst_map, class_map = read_labels(image, pixels.shape[:2])
        for path, array in ((image.label_path, inst_map),
                            (image.class_path or image.label_path, class_map)):
            if array.shape != pixels.shape[:2]:
                raise ValueError(
                    f'{path}: {array.shape} (rows, columns) px, its image '
                    f'{image.img_path.name} {pixels.shape[:2]}; they must be equal')
        check_labels(inst_map, class_map, len(self.classes), str(image.label_path))
        for name, window in self.windows[image.name].items():
            path = self.root / IMAGE_DIR / f'{name}.png'
            write_image(path, pixels[window])
            self._write_labels(name, inst_map[window], class_map[window])

    def _write_labels(self, name: str, inst_map: np.ndarray,
                      class_map: np.ndarray) -> None:
        inst_map, _, _ = relabel_sequential(inst_map)
        labels = np.stack([inst_map, np.where(inst_map > 0, class_map, 0)], axis=-1)
        # Last and at once: a label file says that its image is complete.
        with complete_file(self._label_path(name)) as path, open(path, 'wb') as file:
            np.save(file, labels.astype(np.int32))

    def _remove_others(self) -> None:
        """Deletes what an earlier, interrupted run wrote of images now gone."""
        names = {name for windows in self.windows.values() for name in windows}
        for folder, suffix in ((IMAGE_DIR, '.png'), (LABEL_DIR, '.npy')):
            expected = {f'{name}{suffix}' for name in names}
            for path in (self.root / folder).iterdir():
                if path.name not in expected:
                    path.unlink()


@dataclass(frozen=True)
class PatchWriter:
    """Writes patches of one size as CoNIC distributes them.

    Memory stays flat, also as the system counts it: pages of a mapped file belong to
    the process until it is unmapped, hence the arrays are mapped anew for each chunk.

    Attributes:
        folder: The data set under construction.
        name: Folder of these patches in it; '' for the data set's own.
        rows: Row of `patch_info.csv` for each patch.
        shape: (height, width) of every patch, px.
        num_classes: Length of the class list, background included.
        source: File whose entry i becomes patch i, for errors.
    """
    folder: PendingFolder
    name: str
    rows: list[dict]
    shape: tuple[int, int]
    num_classes: int
    source: Path

    def write(self, read: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]],
              progress: Progress) -> None:
        """Writes every patch that is not written yet.

        Args:
            read: Called with an index; returns image, uint8 (H, W, 3) RGB 0-255,
                instance map and class map, integer (H, W).
            progress: Gets a bar.

        Raises:
            ValueError: When a label is wrong (see `check_labels`) or a patch has
                another size or dtype.
            OSError: When the disk has no room for all patches.
        """
        target = self.folder.part / self.name
        target.mkdir(exist_ok=True)
        num, step = len(self.rows), self.name or PATCH_IMAGES
        done = self.folder.progress(step)
        if done == 0:
            _allocate(target / PATCH_IMAGES, (num, *self.shape, 3), np.uint8)
            _allocate(target / PATCH_LABELS, (num, *self.shape, 2), np.uint16)
        task = progress.add_task(self.name or 'patches', total=num, completed=done)
        bytes_per_patch = BYTES_PER_PIXEL * self.shape[0] * self.shape[1]
        chunk = max(1, min(PATCHES_PER_CHUNK, BYTES_PER_CHUNK // bytes_per_patch))
        for start in range(done, num, chunk):
            stop = min(start + chunk, num)
            self._write_chunk(target, read, range(start, stop))
            self.folder.record(step, stop)
            progress.advance(task, stop - start)
        write_rows(target / PATCH_INFO, self.rows)

    def _write_chunk(self, target: Path, read: Callable, indices: range) -> None:
        images = open_memmap(target / PATCH_IMAGES, mode='r+')
        labels = open_memmap(target / PATCH_LABELS, mode='r+')
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
        name = f'{self.source}[{index}] ({self.rows[index]["patch_info"]})'
        for array in (image, inst_map, class_map):
            if array.shape[:2] != self.shape:
                raise ValueError(f'{name}: {array.shape[:2]} (rows, columns) px, '
                                 f'expected {self.shape} as in the other patches')
        if image.dtype != np.uint8 or image.shape[2:] != (3, ):
            raise ValueError(f'{name}: image {image.dtype} {image.shape}; expected '
                             'uint8 (H, W, 3), RGB')
        check_labels(inst_map, class_map, self.num_classes, name)
        if inst_map.max(initial=0) > MAX_PATCH_ID:
            raise ValueError(f'{name}: instance id {inst_map.max()}; number the nuclei '
                             f'of a patch from 1 to at most {MAX_PATCH_ID}')


def _allocate(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Makes an array of zeros with its room on disk, which a write could not ask for.

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
