# Copyright (c) CellVTA-MMSeg contributors.
"""Label maps in `.mat` files: of CoNSeP, of Lizard, and of HoVer-Net's inference.

All have `inst_map`, (H, W). The classes are in one of three places:

- `type_map`, (H, W): class ids of pixels (CoNSeP).
- `inst_type`, a class per nucleus, in the order of the instance ids in `inst_uid`
  (HoVer-Net's inference).
- `class`, a class per nucleus, in the order of the instance ids in `id` (Lizard).
"""
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.io import loadmat

MAX_INSTANCE_ID = (1 << 24) - 1  # tables by id stay small
# Names of the classes per nucleus, and of the instance ids that they are for.
CLASS_LISTS = {'inst_type': 'inst_uid', 'class': 'id'}


@lru_cache(maxsize=32)
def read_mat_labels(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the label map of a `.mat` file, keeping the last 32 in memory.

    Random crops visit the same large image many times; decoding it takes longer than
    the rest of the pipeline. Callers must not write into the arrays.

    Args:
        path: `.mat` file with instances and classes.

    Returns:
        Instance ids, int32 (H, W), and class ids as they stand in the file, uint8
        (H, W); 0 is background in both.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is damaged, instances or classes are missing, the maps
            differ in shape or a class id is outside 0..255.
    """
    inst_map, class_map = read_mat_maps(path)
    if class_map is None:
        raise ValueError(f'{path}: holds no type_map, and no inst_type or class of '
                         'each nucleus; expected the CoNSeP layout with inst_map and '
                         'type_map')
    if inst_map.shape != class_map.shape:
        raise ValueError(f'{path}: inst_map has shape {inst_map.shape}, '
                         f'type_map {class_map.shape}; they must be equal')
    if class_map.min(initial=0) < 0 or class_map.max(initial=0) > 255:
        raise ValueError(f'{path}: type_map goes from {class_map.min()} to '
                         f'{class_map.max()}; expected class ids in 0..255')
    return inst_map.astype(np.int32), class_map.astype(np.uint8)


def read_mat_maps(path: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads instance map and class map of a `.mat` file of any of the layouts.

    Returns:
        Instance ids and class ids, int64 (H, W); the latter is None if the file has no
        classes.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is damaged, or its classes do not fit its instances.
    """
    content = load_mat(path, (
        'inst_map', 'type_map', *CLASS_LISTS, *CLASS_LISTS.values()))
    if 'inst_map' not in content:
        raise ValueError(f'{path}: holds no inst_map')
    inst_map = to_ids(content['inst_map'], f'{path}: inst_map')
    if 'type_map' in content:
        return inst_map, to_ids(content['type_map'], f'{path}: type_map')
    for types, ids in CLASS_LISTS.items():
        if types in content:
            return inst_map, _draw_classes(inst_map, content[types], content.get(ids),
                                           f'{path}: {types}')
    return inst_map, None


def load_mat(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads the named arrays of a `.mat` file; those that it lacks are left out.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is damaged or of MATLAB's version 7.3.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such label file')
    try:
        content = loadmat(path, variable_names=names)
    except NotImplementedError as error:
        raise ValueError(f'{path}: a .mat file of version 7.3 (HDF5), which is not '
                         "read; save it in MATLAB with '-v7'") from error
    except Exception as error:  # scipy raises many types for a damaged file
        raise ValueError(f'{path}: not a readable .mat file ({error})') from error
    return {name: content[name] for name in names if name in content}


def to_ids(array: np.ndarray, name: str) -> np.ndarray:
    """Returns whole numbers of any dtype as int64, (H, W).

    Args:
        array: Numbers of a label file.
        name: The file, for errors.

    Raises:
        ValueError: When the array has another shape, other values, or too high ids.
    """
    if array.ndim != 2:
        raise ValueError(f'{name}: shape {array.shape}; expected (H, W), instance ids, '
                         'or (H, W, 2), instance ids and class ids')
    if array.dtype.kind not in 'biuf':
        raise ValueError(f'{name}: {array.dtype}; expected whole numbers')
    with np.errstate(invalid='ignore'):  # of NaN, which differs from every number
        ids = array.astype(np.int64)
    if (ids != array).any():
        row, col = np.argwhere(ids != array)[0]
        raise ValueError(f'{name}: {array[row, col]} at row {row}, column {col}; '
                         'expected whole numbers')
    if ids.max(initial=0) > MAX_INSTANCE_ID:
        raise ValueError(f'{name}: id {ids.max()}; expected at most {MAX_INSTANCE_ID}')
    return ids


def _draw_classes(inst_map: np.ndarray, types: np.ndarray, uids: np.ndarray | None,
                  name: str) -> np.ndarray:
    """Gives every pixel the class of its nucleus.

    Args:
        inst_map: Instance ids, int64 (H, W).
        types: Class of each listed nucleus, N numbers in any shape.
        uids: Instance ids of the listed nuclei, N numbers in any shape; None where the
            file does not say them, for ids 1..N.
        name: The list, for errors.

    Raises:
        ValueError: When a nucleus of the map has no class or two, or the lists differ
            in length.
    """
    types = to_ids(np.reshape(types, (-1, 1)), name).ravel()
    present = np.unique(inst_map[inst_map > 0])
    if uids is None:
        uids = np.arange(1, len(types) + 1)
        if not np.array_equal(uids, present):
            raise ValueError(
                f'{name} lists {len(types)} nuclei without their ids, and inst_map '
                f'holds {len(present)} nuclei with ids up to {present.max(initial=0)}; '
                'expected ids from 1 without gaps, or a list of ids')
    uids = to_ids(np.reshape(uids, (-1, 1)), f'{name}: ids').ravel()
    if len(uids) != len(types):
        raise ValueError(f'{name} lists {len(types)} classes for {len(uids)} ids of '
                         'nuclei; expected one for each')
    if len(np.unique(uids)) < len(uids) or uids.min(initial=1) < 1:
        raise ValueError(f'{name}: ids of nuclei are there twice, or below 1')
    missing = np.setdiff1d(present, uids)
    if len(missing):
        raise ValueError(f'{name} has no class for {len(missing)} nuclei of inst_map, '
                         f'the first has id {missing[0]}')
    class_of = np.zeros(max(uids.max(initial=0), 0) + 1, np.int64)
    class_of[uids] = types
    return class_of[np.maximum(inst_map, 0)]
