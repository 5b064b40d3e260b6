# Copyright (c) CellVTA-MMSeg contributors.
"""Nuclei as arrays: a file for each picture, and what the official scorers read.

- A picture: ``<sample_name>.npy``, integer (H, W, 2), instance ids and class ids.
- ``conic``: (N, H, W, 2), the same of many pictures.
- ``pannuke``: (N, H, W, C), a channel of instance ids for each class, and last the
  background, 1 where no nucleus is.
"""
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ..datasets.labels import check_labels, map_npy, open_npy, split_channels
from ..utils.files import PendingFolder, complete_file
from .functional import instance_classes

Maps = tuple[np.ndarray, np.ndarray]
FORMATS = ('conic', 'pannuke')


def write_label_map(path: str | Path, inst_map: np.ndarray,
                    labels: np.ndarray) -> None:
    """Write the nuclei of a picture; the file appears when it is complete.

    Args:
        path (str | Path): The ``.npy`` file; its folder must exist.
        inst_map (np.ndarray): (H, W) integer, ids 1..N without gaps, 0 background.
        labels (np.ndarray): (N,) class ids, in the order of the ids.
    """
    class_of_id = np.concatenate([[0], labels])
    maps = np.stack([inst_map, class_of_id[inst_map]], axis=-1).astype(np.int32)
    with complete_file(path) as part, open(part, 'wb') as file:
        np.save(file, maps)


def read_label_map(path: str | Path, num_classes: int) -> Maps:
    """Read what ``write_label_map`` or another tool has written, and check it.

    Args:
        path (str | Path): The ``.npy`` file.
        num_classes (int): Length of the class list, background included.

    Returns:
        Maps: Instance ids and class ids, integer (H, W).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or a label is wrong (see ``check_labels``).
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'{path}: no such file; tools/test.py writes a file for each picture with '
            '--out DIR --cfg-options test_evaluator.label_maps=True')
    inst_map, class_map = map(np.array, split_channels(map_npy(str(path)), str(path)))
    if class_map.min(initial=0) < 0:
        raise ValueError(f'{path}: class id {class_map.min()}; expected '
                         f'0..{num_classes - 1}')
    check_labels(inst_map, class_map, num_classes, str(path))
    return inst_map, class_map


def to_conic(inst_map: np.ndarray, class_map: np.ndarray,
             num_classes: int) -> np.ndarray:
    """Maps of a picture as (H, W, 2), CoNIC's layout; classes only where nuclei are."""
    return np.stack([inst_map, np.where(inst_map > 0, class_map, 0)], axis=-1)


def to_pannuke(inst_map: np.ndarray, class_map: np.ndarray,
               num_classes: int) -> np.ndarray:
    """Maps of a picture as (H, W, num_classes), PanNuke's layout, background last."""
    channels = [np.where(class_map == class_id, inst_map, 0)
                for class_id in range(1, num_classes)]
    return np.stack([*channels, inst_map == 0], axis=-1)


def export_arrays(
        out: str | Path, layout: str, names: Sequence[str],
        sources: dict[str, Callable[[int], Maps]], num_classes: int,
        tissues: Sequence[str | None], settings: dict,
        track: Callable[[Iterable, str], Iterable] = lambda items, title: items
) -> None:
    """Write pictures as the official scorers read them.

    Writes ``<source>.npy`` for each source and, for PanNuke, ``types.npy`` with the
    tissues. PanNuke's scorer is given folders: ``true`` and ``pred`` link to the files
    under the names that it looks for. One picture is in memory at a time.

    Args:
        out (str | Path): Folder to make; it appears when everything is in it.
        layout (str): 'conic' or 'pannuke'.
        names (Sequence[str]): The pictures, in the order of the arrays.
        sources (dict[str, Callable]): Function for each array to write ('true',
            'pred') that returns the checked maps of picture i.
        num_classes (int): Length of the class list, background included.
        tissues (Sequence[str | None]): Tissue of each picture.
        settings (dict): What the content depends on, JSON values.
        track (Callable): Wraps an iteration in a progress bar with a title.

    Raises:
        OSError: If `out` exists, a file is missing or the disk is full.
        ValueError: If pictures differ in size, or a label is wrong.
    """
    if os.path.lexists(out):  # at once, not after reading everything
        raise FileExistsError(f'{out}: exists already; delete it or choose another '
                              'folder')
    shape, dtypes = _survey(names, sources, track)
    folder = PendingFolder(out, settings)
    convert = dict(conic=to_conic, pannuke=to_pannuke)[layout]
    channels = dict(conic=2, pannuke=num_classes)[layout]
    for source, read in sources.items():
        pictures = (convert(*read(index), num_classes)
                    for index in track(range(len(names)), f'{source}.npy'))
        _write_stack(folder.part / f'{source}.npy', pictures,
                     (len(names), *shape, channels), dtypes[source])
    if layout == 'pannuke':
        types = np.array([tissue or 'unknown' for tissue in tissues])
        np.save(folder.part / 'types.npy', types)
        for source in sources:
            _link_for_scorer(folder.part, source)
    folder.publish()


def _survey(names: Sequence[str], sources: dict[str, Callable[[int], Maps]],
            track: Callable) -> tuple[tuple[int, int], dict[str, np.dtype]]:
    """Size that all pictures have, and the dtype that holds the ids of each source."""
    shape, highest = None, dict.fromkeys(sources, 0)
    for index in track(range(len(names)), 'checking'):
        for source, read in sources.items():
            inst_map, class_map = read(index)
            shape = shape or inst_map.shape
            if inst_map.shape != shape:
                raise ValueError(
                    f'{names[index]} ({source}): {inst_map.shape} (rows, columns) px, '
                    f'but {names[0]} {shape}; an array holds pictures of one size: cut '
                    'them into tiles, as the converters in tools/dataset_converters '
                    'do with --tile')
            highest[source] = max(highest[source], int(inst_map.max(initial=0)),
                                  int(class_map.max(initial=0)))
    return shape, {source: np.dtype(np.uint16 if top <= 0xFFFF else np.int32)
                   for source, top in highest.items()}


def _write_stack(path: Path, pictures: Iterable[np.ndarray], shape: tuple[int, ...],
                 dtype: np.dtype) -> None:
    """Write a ``.npy`` file picture by picture.

    A full disk is an error here; in a memory map it kills the process.
    """
    header = dict(descr=np.lib.format.dtype_to_descr(dtype), fortran_order=False,
                  shape=shape)
    with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, header)
        for picture in pictures:
            file.write(picture.astype(dtype).tobytes())


def _link_for_scorer(folder: Path, source: str) -> None:
    """A folder in which PanNuke's scorer finds its ``masks.npy`` and ``types.npy``."""
    (folder / source).mkdir(exist_ok=True)
    for link, target in (('masks.npy', f'{source}.npy'), ('types.npy', 'types.npy')):
        path = folder / source / link
        path.unlink(missing_ok=True)
        path.symlink_to(Path('..', target))


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
