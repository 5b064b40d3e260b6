# Copyright (c) CellVTA-MMSeg contributors.
"""Nuclei as arrays: one file per image, and the files that the official scorers read.

- One image: `<sample_name>.npy`, integer (H, W, 2), instance ids and class ids.
- `conic`: (N, H, W, 2), the same for many images.
- `pannuke`: (N, H, W, C), a channel of instance ids for each class, and last the
  background, 1 where no nucleus is.
"""
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..datasets.labels import check_labels, split_channels
from ..utils.files import PendingFolder, complete_file, map_npy
from .functional import instance_classes
from .functional.overlaps import MAX_ID

Maps = tuple[np.ndarray, np.ndarray]


def write_label_map(path: str | Path, inst_map: np.ndarray,
                    labels: np.ndarray) -> None:
    """Writes the nuclei of an image; the file appears when it is complete.

    Args:
        path: The `.npy` file; its folder must exist.
        inst_map: Instance ids, integer (H, W), 1..N without gaps, 0 background.
        labels: Class ids in the order of the instance ids, integer (N,).
    """
    class_of_id = np.concatenate([[0], labels])
    maps = np.stack([inst_map, class_of_id[inst_map]], axis=-1).astype(np.int32)
    with complete_file(path) as part, open(part, 'wb') as file:
        np.save(file, maps)


def read_label_map(path: str | Path, num_classes: int) -> Maps:
    """Reads what `write_label_map` or another tool has written, and checks it.

    Args:
        path: The `.npy` file.
        num_classes: Length of the class list, background included.

    Returns:
        Instance ids and class ids, integer (H, W) each.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is damaged or a label is wrong (see `check_labels`).
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'{path}: no such file; tools/test.py writes one file per image with '
            '--out DIR --cfg-options test_evaluator.label_maps=True')
    inst_map, class_map = map(np.array, split_channels(map_npy(str(path)), str(path)))
    check_labels(inst_map, class_map, num_classes, str(path))
    return inst_map, class_map


class LabelArray:
    """Labels of many images in one file, (N, H, W, 2), integer; see `conic` above.

    The file is memory-mapped, and an image is checked when it is read. Unlike
    `check_labels`, which guards training, it accepts instances of several classes and
    of class 0: scores must be possible for the results of any tool.

    Args:
        path: The `.npy` file.
        num_classes: Length of the class list, background included.

    Attributes:
        shape: (N, H, W, 2).
        mixed: Image index and instance id of each instance, among those read so far,
            that holds pixels of more than one class.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is truncated or does not hold a 4-D array.
    """

    def __init__(self, path: str | Path, num_classes: int) -> None:
        self.path = Path(path)
        self.num_classes = num_classes
        self.mixed: list[tuple[int, int]] = []
        self._array = map_npy(str(path))
        self.shape = self._array.shape
        if len(self.shape) != 4:
            raise ValueError(f'{path}: shape {self.shape}, expected (N, H, W, 2) with '
                             'instance ids and class ids')

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Maps:
        """Reads an image.

        Returns:
            Instance ids, integer (H, W); and the class of each instance, that of most
            of its pixels, in ascending order of the ids.

        Raises:
            ValueError: When the array is not integer (N, H, W, 2), an instance id is
                negative, or a class id is not in 0..C-1.
        """
        maps = split_channels(self._array[index], f'{self.path}[{index}]')
        inst_map, class_map = map(np.ascontiguousarray, maps)
        for name, ids, highest in (('instance id', inst_map, MAX_ID),
                                   ('class id', class_map, self.num_classes - 1)):
            wrong = (ids < 0) | (ids > highest)
            if wrong.any():
                row, col = np.argwhere(wrong)[0]
                raise ValueError(
                    f'{self.path}: {name} {ids[row, col]} in image {index} at row {row}'
                    f', column {col}; expected 0..{highest}: correct the file or the '
                    'number of classes')
        classes, mixed = instance_classes(inst_map, class_map)
        self.mixed += [(index, int(instance)) for instance in mixed]
        return inst_map, classes


def to_conic(inst_map: np.ndarray, class_map: np.ndarray) -> np.ndarray:
    """Returns CoNIC's layout of an image, (H, W, 2); classes only inside nuclei."""
    return np.stack([inst_map, np.where(inst_map > 0, class_map, 0)], axis=-1)


def to_pannuke(inst_map: np.ndarray, class_map: np.ndarray,
               num_classes: int) -> np.ndarray:
    """Returns PanNuke's layout of an image, (H, W, C); the background is last."""
    channels = [np.where(class_map == class_id, inst_map, 0)
                for class_id in range(1, num_classes)]
    return np.stack([*channels, inst_map == 0], axis=-1)


def export_arrays(
        out: str | Path, layout: str, names: Sequence[str],
        sources: dict[str, Callable[[int], Maps]], num_classes: int,
        tissues: Sequence[str | None], settings: dict,
        track: Callable[[Iterable, str], Iterable] = lambda items, title: items
) -> None:
    """Writes images as the official scorers read them.

    Writes `<source>.npy` for each source and, for PanNuke, `types.npy` with the
    tissues. PanNuke's scorer takes folders: `true` and `pred` link to the files under
    the names it expects. One image is in memory at a time.

    Args:
        out: Folder to make; it appears when everything is in it.
        layout: 'conic' or 'pannuke'.
        names: The images, in the order of the arrays.
        sources: Function for each array to write ('true', 'pred') that returns the
            checked maps of image i.
        num_classes: Length of the class list, background included.
        tissues: Tissue of each image.
        settings: What the content depends on, JSON values.
        track: Wraps an iteration in a progress bar with a title.

    Raises:
        OSError: When `out` exists, a file is missing or the disk is full.
        ValueError: When images differ in size, or a label is wrong.
    """
    if os.path.lexists(out):  # at once, not after reading everything
        raise FileExistsError(f'{out}: exists already; delete it or choose another '
                              'folder')
    shape, dtypes = _survey(names, sources, track)
    folder = PendingFolder(out, settings)
    if layout == 'conic':
        channels, convert = 2, to_conic
    else:
        channels, convert = num_classes, partial(to_pannuke, num_classes=num_classes)
    for source, read in sources.items():
        images = (convert(*read(index))
                  for index in track(range(len(names)), f'{source}.npy'))
        _write_stack(folder.part / f'{source}.npy', images,
                     (len(names), *shape, channels), dtypes[source])
    if layout == 'pannuke':
        types = np.array([tissue or 'unknown' for tissue in tissues])
        np.save(folder.part / 'types.npy', types)
        for source in sources:
            _link_for_scorer(folder.part, source)
    folder.publish()


def _survey(names: Sequence[str], sources: dict[str, Callable[[int], Maps]],
            track: Callable) -> tuple[tuple[int, int], dict[str, np.dtype]]:
    """Finds the common size of the images and the dtype for the ids of each source."""
    shape, highest = None, dict.fromkeys(sources, 0)
    for index in track(range(len(names)), 'checking'):
        for source, read in sources.items():
            inst_map, class_map = read(index)
            shape = shape or inst_map.shape
            if inst_map.shape != shape:
                raise ValueError(
                    f'{names[index]} ({source}): {inst_map.shape} (rows, columns) px, '
                    f'but {names[0]} {shape}; an array holds images of one size: cut '
                    'them into tiles, as the converters in tools/dataset_converters '
                    'do with --tile')
            highest[source] = max(highest[source], int(inst_map.max(initial=0)),
                                  int(class_map.max(initial=0)))
    return shape, {source: np.dtype(np.uint16 if top <= 0xFFFF else np.int32)
                   for source, top in highest.items()}


def _write_stack(path: Path, images: Iterable[np.ndarray], shape: tuple[int, ...],
                 dtype: np.dtype) -> None:
    """Writes a `.npy` file image by image.

    A full disk is an error here; in a memory map it kills the process.
    """
    header = dict(descr=np.lib.format.dtype_to_descr(dtype), fortran_order=False,
                  shape=shape)
    with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, header)
        for image in images:
            file.write(image.astype(dtype).tobytes())


def _link_for_scorer(folder: Path, source: str) -> None:
    """Makes the folder with `masks.npy` and `types.npy` for PanNuke's scorer."""
    (folder / source).mkdir(exist_ok=True)
    for link, target in (('masks.npy', f'{source}.npy'), ('types.npy', 'types.npy')):
        path = folder / source / link
        path.unlink(missing_ok=True)
        path.symlink_to(Path('..', target))
