# Copyright (c) CellVTA-MMSeg contributors.
"""Reading and checking of nucleus label files, shared by data sets and loaders."""
import csv
import json
import os.path as osp
import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.io import loadmat

PATCH_IMAGES, PATCH_LABELS, PATCH_INFO = 'images.npy', 'labels.npy', 'patch_info.csv'
IMAGE_DIR, LABEL_DIR, INFO_FILE = 'Images', 'Labels', 'dataset.json'


@lru_cache(maxsize=16)
def open_npy(path: str) -> np.ndarray:
    """Memory-map a ``.npy`` file, once per process; see ``map_npy``."""
    return map_npy(path)


def map_npy(path: str) -> np.ndarray:
    """Memory-map a ``.npy`` file.

    Args:
        path (str): The ``.npy`` file.

    Returns:
        np.ndarray: Read-only memory map.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated or no ``.npy`` file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'{path}: no such file; data_root must be the folder that holds '
            'images.npy, labels.npy and patch_info.csv')
    try:
        return np.load(path, mmap_mode='r')
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f'{path}: not a complete .npy file ({error}); found '
            f'{Path(path).stat().st_size} bytes; copy or unpack it again') from error


def read_labels(path: str, index: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read the maps of a picture, whatever file they are in.

    Args:
        path (str): ``.mat`` as HoVer-Net writes it; ``.npy``, integer (H, W, 2); or
            ``.npy``, integer (N, H, W, 2), with `index`.
        index (int, optional): Picture in a ``.npy`` of many.

    Returns:
        Tuple[np.ndarray, np.ndarray]: Instance ids and class ids, integer (H, W), as
        they stand in the file. Callers must not write into them.
    """
    if path.endswith('.mat'):
        return read_mat_labels(path)
    labels = open_npy(path)
    return split_channels(labels if index is None else labels[index], path)


def split_channels(labels: np.ndarray, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Instance ids and class ids, integer (H, W), of an array of both, (H, W, 2).

    Raises:
        ValueError: If the array, which is in the file `path`, has another layout.
    """
    if labels.ndim != 3 or labels.shape[-1] != 2 or labels.dtype.kind not in 'iu':
        raise ValueError(f'{path}: {labels.dtype} {labels.shape}; expected integer '
                         '(H, W, 2), instance ids and class ids')
    return labels[..., 0], labels[..., 1]


@lru_cache(maxsize=32)
def read_mat_labels(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the maps of a HoVer-Net label file, keeping the last 32 in memory.

    Random crops visit the same large image many times; decoding it takes longer
    than the rest of the pipeline. Callers must not write into the arrays.

    Args:
        path (str): ``.mat`` file with ``inst_map`` and ``type_map``.

    Returns:
        Tuple[np.ndarray, np.ndarray]: Instance ids, int32 (H, W), and class ids as
        they stand in the file, uint8 (H, W); 0 is background in both.
    """
    content = load_mat(path, ('inst_map', 'type_map'))
    missing = [key for key in ('inst_map', 'type_map') if key not in content]
    if missing:
        raise ValueError(f'{path}: holds no {" and no ".join(missing)}; expected the '
                         'CoNSeP layout with inst_map and type_map')
    inst_map, class_map = content['inst_map'], content['type_map']
    if inst_map.shape != class_map.shape:
        raise ValueError(f'{path}: inst_map has shape {inst_map.shape}, '
                         f'type_map {class_map.shape}; they must be equal')
    if class_map.min(initial=0) < 0 or class_map.max(initial=0) > 255:
        raise ValueError(f'{path}: type_map goes from {class_map.min()} to '
                         f'{class_map.max()}; expected class ids in 0..255')
    return inst_map.astype(np.int32), class_map.astype(np.uint8)


def load_mat(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of a ``.mat`` file, as far as they are in it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or of MATLAB's version 7.3.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such label file')
    try:
        content = loadmat(path, variable_names=names)
    except Exception as error:  # scipy raises many types for a damaged file
        raise ValueError(f'{path}: not a readable .mat file ({error})') from error
    return {name: content[name] for name in names if name in content}


def check_labels(inst_map: np.ndarray, class_map: np.ndarray, num_classes: int,
                 name: str) -> None:
    """Check that every nucleus has exactly one class of the class list.

    Linear in pixels: no sorting and no loop over nuclei.

    Args:
        inst_map (np.ndarray): Instance ids, integer (H, W), 0 background.
        class_map (np.ndarray): Class ids, integer (H, W), 0 background.
        num_classes (int): Length of the class list, background included.
        name (str): What the error calls this image, e.g. ``labels.npy[12]``.

    Raises:
        ValueError: If an instance id is negative, a class id is outside the list, or
            a nucleus has two classes or the class background.
    """
    inst, cls = inst_map.ravel(), class_map.ravel()
    if inst.min(initial=0) < 0:
        raise ValueError(f'{name}: instance id {inst.min()}; ids must not be negative')
    if cls.min(initial=0) < 0:
        raise ValueError(f'{name}: class id {cls.min()}; ids must not be negative')
    highest = int(cls.max(initial=0))
    if highest >= num_classes:
        first = int(inst[cls == highest][0])
        raise ValueError(
            f'{name}: class id {highest} (instance {first}) is outside the '
            f'{num_classes} classes 0..{num_classes - 1}; correct the labels or the '
            'class list')
    # The class written last for each id; every other pixel must agree with it.
    class_of = np.zeros(int(inst.max(initial=0)) + 1, cls.dtype)
    class_of[inst] = cls
    wrong = class_of[inst] != cls
    if wrong.any() and (inst[wrong] > 0).any():
        first = int(inst[wrong & (inst > 0)][0])
        found = np.unique(cls[inst == first]).tolist()
        raise ValueError(f'{name}: instance {first} has the classes {found}; expected '
                         'one class per instance')
    without = (inst > 0) & (cls == 0)
    if without.any():
        raise ValueError(f'{name}: instance {int(inst[without][0])} has class 0 '
                         f'(background); expected 1..{num_classes - 1}')


def count_nuclei(inst_map: np.ndarray, class_map: np.ndarray,
                 num_classes: int) -> np.ndarray:
    """Count the nuclei of each class of checked labels, linear in pixels.

    Args:
        inst_map (np.ndarray): Instance ids, integer (H, W), 0 background.
        class_map (np.ndarray): Class ids, integer (H, W), one per nucleus.
        num_classes (int): C, with background.

    Returns:
        np.ndarray: (C-1,) int64, nuclei of the classes 1..C-1.
    """
    class_of = np.zeros(int(inst_map.max(initial=0)) + 1, np.int64)
    class_of[inst_map.ravel()] = class_map.ravel()
    class_of[0] = 0  # pixels of a class outside nuclei are none
    return np.bincount(class_of, minlength=num_classes)[1:]


def read_patches(folder: str) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Open the patches of a folder; both arrays stay on disk.

    Args:
        folder (str): Folder that holds the three files.

    Returns:
        tuple: Images and labels, memory-mapped, and the rows of the csv file.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged or the files disagree.
    """
    images, labels = check_arrays(
        osp.join(folder, PATCH_IMAGES), osp.join(folder, PATCH_LABELS))
    rows = read_rows(osp.join(folder, PATCH_INFO))
    if len(rows) != len(images):
        raise ValueError(f'{folder}: {PATCH_INFO} names {len(rows)} patches, '
                         f'{PATCH_IMAGES} holds {len(images)} images')
    return images, labels, rows


def read_item(path: str | Path, index: int) -> np.ndarray:
    """Read one entry of a ``.npy`` file.

    The file is mapped for this alone, so that what was read does not stay in memory.
    """
    return np.array(map_npy(str(path))[index])


def check_arrays(img_path: str, label_path: str) -> tuple[np.ndarray, np.ndarray]:
    """Open both arrays if they have CoNIC's dtypes and agreeing shapes."""
    images, labels = open_npy(img_path), open_npy(label_path)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(f'{img_path}: {images.dtype} {images.shape}; expected '
                         'uint8 (N, H, W, 3), RGB')
    if len(images) == 0:
        raise ValueError(f'{img_path}: holds no image')
    if labels.dtype.kind not in 'iu':
        raise ValueError(f'{label_path}: dtype {labels.dtype}; expected uint16')
    if labels.shape != (*images.shape[:3], 2):
        raise ValueError(
            f'{label_path}: shape {labels.shape} does not match images.npy: '
            f'{len(images)} images, expected {(*images.shape[:3], 2)}')
    return images, labels


def read_rows(path: str) -> list[dict]:
    """Read the rows of ``patch_info.csv``; its names must be unique."""
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path}: no such file; expected a csv file with one '
                                'column patch_info that names every patch')
    with open(path, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    if not rows or 'patch_info' not in rows[0]:
        raise ValueError(f'{path}: no column patch_info with names below it')
    names = Counter(row['patch_info'] for row in rows)
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise ValueError(f'{path}: {len(repeated)} names stand there more than once, '
                         f'the first is {repeated[0]!r}; names must be unique')
    return rows


def write_rows(path: str, rows: list[dict]) -> None:
    """Write ``patch_info.csv``: one row per patch, the columns of the first."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_info(folder: str | Path) -> dict:
    """Read ``dataset.json``.

    Args:
        folder (str | Path): Folder of the data set.

    Returns:
        dict: ``classes``, ``palette`` and ``mpp``; empty if there is no such file.

    Raises:
        ValueError: If the file is damaged or says something impossible.
    """
    path = Path(folder, INFO_FILE)
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    missing = [key for key in ('classes', 'palette', 'mpp')
               if not isinstance(info, dict) or key not in info]
    if missing:
        raise ValueError(f'{path}: holds no {" and no ".join(missing)}')
    classes, palette = info['classes'], info['palette']
    if not isinstance(classes, list) or len(classes) < 2 or classes[0] != 'background':
        raise ValueError(f'{path}: classes {classes}; expected a list of "background" '
                         'and at least one class')
    if not isinstance(palette, list) or len(palette) != len(classes):
        raise ValueError(f'{path}: palette {palette}; expected [red, green, blue], '
                         f'0-255, for each of the {len(classes)} classes')
    if not isinstance(info['mpp'], int | float) or not info['mpp'] > 0:
        raise ValueError(f'{path}: mpp {info["mpp"]}; expected µm/px above 0')
    return info


def write_info(folder: str | Path, classes: Sequence[str],
               palette: Sequence[Sequence[int]], mpp: float) -> None:
    """Write ``dataset.json``."""
    info = dict(classes=list(classes), palette=[list(color) for color in palette],
                mpp=mpp)
    Path(folder, INFO_FILE).write_text(
        json.dumps(info, ensure_ascii=False) + '\n', encoding='utf-8')


def read_names(path: str | Path, present: Collection[str]) -> list[str]:
    """Read a list of names, one a line; empty lines do not count.

    Args:
        path (str | Path): Text file.
        present (Collection[str]): Names of the pictures that there are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name has no picture or stands there twice, or none is there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file; it lists names of pictures, '
                                'without suffix, one a line')
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    line_of: dict[str, int] = {}
    for number, name in enumerate(map(str.strip, lines), 1):
        if not name:
            continue
        if name in line_of:
            raise ValueError(f'{path}, line {number}: {name!r} stands there already, '
                             f'in line {line_of[name]}')
        if name not in present:
            raise ValueError(
                f'{path}, line {number}: no picture {name!r} in {IMAGE_DIR}')
        line_of[name] = number
    if not line_of:
        raise ValueError(f'{path}: names no picture')
    return list(line_of)


def natural_key(name: str) -> tuple[list, str]:
    """Sorting key that orders the numbers within a name by value."""
    parts = re.split(r'([0-9]+)', name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
