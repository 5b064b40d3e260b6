# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from ..datasets.labels import (
    PATCH_IMAGES,
    PATCH_INFO,
    PATCH_LABELS,
    check_labels,
    write_rows,
)
from ..utils.files import PendingFolder

CHUNK = 64  # patches between two records of the progress, at most
CHUNK_BYTES = 64 << 20  # what they may take together
MAX_ID = np.iinfo(np.uint16).max


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


def read_item(path: str | Path, index: int) -> np.ndarray:
    """Read one entry of a ``.npy`` file.

    The file is mapped for this alone, so that what was read does not stay in memory.
    """
    return np.array(open_memmap(path, mode='r')[index])


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
