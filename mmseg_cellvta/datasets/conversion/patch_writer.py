# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from ..label_io import check_labels
from ..patch_arrays import IMAGES, LABELS, NAMES, write_rows
from .pending_folder import PendingFolder

CHUNK = 64  # patches between two records of the progress


class PatchWriter:
    """Writes patches of one size as CoNIC distributes them (see ``patch_arrays``).

    Memory stays flat: patches go to memory-mapped arrays one by one.

    Args:
        folder (PendingFolder): The data set under construction.
        name (str): Folder of these patches in it; '' for the data set's own.
        rows (list[dict]): Row of ``patch_info.csv`` for each patch.
        shape (tuple[int, int]): (height, width) of every patch, px.
        num_classes (int): Length of the class list, background included.
    """

    def __init__(self, folder: PendingFolder, name: str, rows: list[dict],
                 shape: tuple[int, int], num_classes: int) -> None:
        self.folder = folder
        self.name = name
        self.rows = rows
        self.shape = shape
        self.num_classes = num_classes

    def write(self, read: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]],
              advance: Callable[[int], None] = lambda count: None) -> None:
        """Write every patch that is not written yet.

        Args:
            read: Called with an index; returns image uint8 (H, W, 3) RGB, instance map
                and class map (H, W).
            advance: Called with the number of patches that were finished since.

        Raises:
            ValueError: If a label is wrong (see ``check_labels``) or a patch has
                another size.
        """
        target = self.folder.part / self.name
        target.mkdir(exist_ok=True)
        num, step = len(self.rows), self.name or IMAGES
        done = self.folder.progress(step)
        images = _open(target / IMAGES, done, (num, *self.shape, 3), np.uint8)
        labels = _open(target / LABELS, done, (num, *self.shape, 2), np.uint16)
        advance(done)
        for start in range(done, num, CHUNK):
            stop = min(start + CHUNK, num)
            for index in range(start, stop):
                self._put(images, labels, index, read(index))
            images.flush()
            labels.flush()
            self.folder.record(step, stop)
            advance(stop - start)
        write_rows(target / NAMES, self.rows)

    def _put(self, images: np.ndarray, labels: np.ndarray, index: int,
             patch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        image, inst_map, class_map = patch
        name = self.rows[index]['patch_info']
        for array in patch:
            if array.shape[:2] != tuple(self.shape):
                raise ValueError(f'{name}: {array.shape[:2]} (rows, columns) px, '
                                 f'expected {self.shape} as in the other patches')
        check_labels(inst_map, class_map, self.num_classes, name)
        if inst_map.max(initial=0) > np.iinfo(np.uint16).max:
            raise ValueError(f'{name}: instance id {inst_map.max()}; number the nuclei '
                             'of a patch from 1 to at most 65535')
        images[index] = image
        labels[index, ..., 0] = inst_map
        labels[index, ..., 1] = class_map


def _open(path: Path, done: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """A new array, or the begun one where patches are already written."""
    if done:
        return open_memmap(path, mode='r+')
    return open_memmap(path, mode='w+', shape=shape, dtype=dtype)
