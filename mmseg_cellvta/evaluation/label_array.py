# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import numpy as np

from ..datasets.labels import open_npy
from .functional import instance_classes


class LabelArray:
    """Labels of many images in one file, laid out as CoNIC distributes them.

    The file is (N, H, W, 2), integer: instance ids and class ids, 0 background. It is
    memory-mapped, and an image is checked when it is read.

    Args:
        path (str | Path): The `.npy` file.
        num_classes (int): C, with background.

    Attributes:
        shape (tuple[int, ...]): (N, H, W, 2).
        mixed (list[tuple[int, int]]): Image and id of each instance, among those read
            so far, that holds pixels of more than one class.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated or has another layout.
    """

    def __init__(self, path: str | Path, num_classes: int) -> None:
        self.path = Path(path)
        self.num_classes = num_classes
        self.mixed = []
        if not self.path.is_file():
            raise FileNotFoundError(f'{path}: no such file')
        self._array = open_npy(str(path))
        if not isinstance(self._array, np.ndarray):
            raise ValueError(f'{path}: an .npz archive, expected one .npy array')
        self.shape, dtype = self._array.shape, self._array.dtype
        if len(self.shape) != 4 or self.shape[-1] != 2:
            raise ValueError(f'{path}: shape {self.shape}, expected (N, H, W, 2) with '
                             'instance id and class id')
        if not np.issubdtype(dtype, np.integer):
            raise ValueError(f'{path}: dtype {dtype}, expected integers: write it with '
                             "np.save(path, array.astype('int32'))")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read an image.

        Returns:
            tuple[np.ndarray, np.ndarray]: Instance ids (H, W), and the class of each
            instance in ascending order of the ids: that of most of its pixels.

        Raises:
            ValueError: If an instance id is negative or a class id not 0..C-1.
        """
        inst_map = np.ascontiguousarray(self._array[index, ..., 0])
        class_map = np.ascontiguousarray(self._array[index, ..., 1])
        self._check(index, inst_map, inst_map < 0, 'instance id', 'no negative id')
        self._check(
            index, class_map, (class_map < 0) | (class_map >= self.num_classes),
            'class id', f'0..{self.num_classes - 1}: correct the file or --num-classes')
        classes, mixed = instance_classes(inst_map, class_map)
        self.mixed += [(index, int(instance)) for instance in mixed]
        return inst_map, classes

    def _check(self, index: int, values: np.ndarray, wrong: np.ndarray, what: str,
               expected: str) -> None:
        if wrong.any():
            row, col = np.unravel_index(wrong.argmax(), wrong.shape)
            raise ValueError(f'{self.path}: {what} {values[row, col]} in image {index} '
                             f'at row {row}, column {col}; expected {expected}')
