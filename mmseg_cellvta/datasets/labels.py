# Copyright (c) CellVTA-MMSeg contributors.
"""Label maps of nuclei: how they lie on the disk, how they are read and checked.

A label map is two integer maps of one image, (H, W): instance ids, a different number
for each nucleus, and class ids; 0 is background in both. There are three layouts:

- A label file for one image: `.npy`, integer (H, W, 2), instance ids and class ids; or
  a `.mat` file, see `mat_labels`.
- Patch arrays, a folder of `images.npy`, uint8 (N, H, W, 3) RGB; `labels.npy`, integer
  (N, H, W, 2); and `patch_info.csv`, which names the N patches. CoNIC is distributed
  so; the PanNuke converter writes it for each fold.
- An image folder, with `Images/<name>.png`, a label file `Labels/<name>.npy` or `.mat`
  for each, and `dataset.json` with classes, palette and µm/px. Text files beside them
  list the names of parts. The converters for CoNSeP and for the user's own data write
  it.
"""
import csv
import io
import json
import os.path as osp
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ..utils.files import open_npy, read_json, read_text
from ..utils.names import check_class_names
from ..utils.pixel_size import mpp_problem
from .mat_labels import MAX_INSTANCE_ID, read_mat_labels

PATCH_IMAGES, PATCH_LABELS, PATCH_INFO = 'images.npy', 'labels.npy', 'patch_info.csv'
IMAGE_DIR, LABEL_DIR, INFO_FILE = 'Images', 'Labels', 'dataset.json'
IMAGE_SUFFIX = '.png'


# Label maps of one image


def read_labels(path: str, index: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reads the label map of an image from any of the layouts.

    Args:
        path: A label file of one image, or the `labels.npy` of patch arrays.
        index: Number of the patch in patch arrays; None for a file of one image.

    Returns:
        Instance ids and class ids, integer (H, W), as they stand in the file. Callers
        must not write into them.
    """
    if path.endswith('.mat'):
        return read_mat_labels(path)
    labels = open_npy(path)
    return split_channels(labels if index is None else labels[index], path)


def split_channels(labels: np.ndarray, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns instance ids and class ids, integer (H, W), of an array (H, W, 2).

    Raises:
        ValueError: When the array, which is in the file `path`, has another layout.
    """
    if labels.ndim != 3 or labels.shape[-1] != 2 or labels.dtype.kind not in 'iu':
        raise ValueError(f'{path}: {labels.dtype} {labels.shape}; expected integer '
                         '(H, W, 2), instance ids and class ids')
    return labels[..., 0], labels[..., 1]


def check_labels(inst_map: np.ndarray, class_map: np.ndarray, num_classes: int,
                 name: str) -> None:
    """Checks that every nucleus has exactly one class of the class list.

    Linear in pixels: no sorting and no loop over nuclei.

    Args:
        inst_map: Instance ids, integer (H, W), 0 background.
        class_map: Class ids, integer (H, W), 0 background.
        num_classes: Length of the class list, background included.
        name: What the error calls this image, e.g. `labels.npy[12]`.

    Raises:
        ValueError: When an instance id is negative or too high, a class id is outside
            the list, or a nucleus has two classes or the class background.
    """
    inst, cls = inst_map.ravel(), class_map.ravel()
    if inst.min(initial=0) < 0:
        raise ValueError(f'{name}: instance id {inst.min()}; ids must not be negative')
    if inst.max(initial=0) > MAX_INSTANCE_ID:
        raise ValueError(f'{name}: instance id {inst.max()}; expected at most '
                         f'{MAX_INSTANCE_ID}: number nuclei from 1')
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
    unclassified = (inst > 0) & (cls == 0)
    if unclassified.any():
        raise ValueError(f'{name}: instance {int(inst[unclassified][0])} has class 0 '
                         f'(background); expected 1..{num_classes - 1}')


def count_nuclei(inst_map: np.ndarray, class_map: np.ndarray,
                 num_classes: int) -> np.ndarray:
    """Counts the nuclei of each class of checked labels, linear in pixels.

    Args:
        inst_map: Instance ids, integer (H, W), 0 background.
        class_map: Class ids, integer (H, W), one per nucleus.
        num_classes: C, background included.

    Returns:
        Nuclei of the classes 1..C-1, int64 (C-1,).
    """
    class_of = np.zeros(int(inst_map.max(initial=0)) + 1, np.int64)
    class_of[inst_map.ravel()] = class_map.ravel()
    class_of[0] = 0  # a class outside nuclei counts nothing
    return np.bincount(class_of, minlength=num_classes)[1:]


# Patch arrays


def read_patches(folder: str) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Opens the patch arrays of a folder and checks that the three files agree.

    Returns:
        Images, uint8 (N, H, W, 3), and labels, integer (N, H, W, 2), both mapped into
        memory, and the N rows of the csv file.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file is damaged or the files disagree.
    """
    images, labels = check_arrays(
        osp.join(folder, PATCH_IMAGES), osp.join(folder, PATCH_LABELS))
    rows = read_rows(osp.join(folder, PATCH_INFO))
    if len(rows) != len(images):
        raise ValueError(f'{folder}: {PATCH_INFO} names {len(rows)} patches, '
                         f'{PATCH_IMAGES} holds {len(images)} images')
    return images, labels, rows


def check_arrays(img_path: str, label_path: str) -> tuple[np.ndarray, np.ndarray]:
    """Opens both arrays and checks that dtypes and shapes are those of the layout."""
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
    """Reads the rows of `patch_info.csv`; the names in it must be unique."""
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path}: no such file; expected a csv file with one '
                                'column patch_info that names every patch')
    rows = list(csv.DictReader(io.StringIO(read_text(path))))
    if not rows or 'patch_info' not in rows[0]:
        raise ValueError(f'{path}: no column patch_info with names below it')
    for number, row in enumerate(rows, 1):
        if not row['patch_info']:
            raise ValueError(f'{path}: row {number} below the header has no name')
    names = Counter(row['patch_info'] for row in rows)
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise ValueError(f'{path}: {len(repeated)} names occur more than once, the '
                         f'first is {repeated[0]!r}; names must be unique')
    return rows


def write_rows(path: str | Path, rows: list[dict]) -> None:
    """Writes `patch_info.csv`: one row per patch, the columns of the first."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# Image folders


def read_info(folder: str | Path) -> dict:
    """Reads the `dataset.json` of an image folder.

    Returns:
        `classes`, `palette` and `mpp`; empty if there is no such file.

    Raises:
        ValueError: When the file is damaged or says something impossible.
    """
    path = Path(folder, INFO_FILE)
    if not path.is_file():
        return {}
    info = read_json(path)
    missing = [key for key in ('classes', 'palette', 'mpp')
               if not isinstance(info, dict) or key not in info]
    if missing:
        raise ValueError(f'{path}: holds no {" and no ".join(missing)}')
    classes, palette = info['classes'], info['palette']
    if not isinstance(classes, list) or len(classes) < 2 or classes[0] != 'background':
        raise ValueError(f'{path}: classes {classes}; expected a list of "background" '
                         'and at least one class')
    check_class_names(classes, str(path))
    if not isinstance(palette, list) or len(palette) != len(classes) or not all(
            map(_is_color, palette)):
        raise ValueError(f'{path}: palette {palette}; expected [red, green, blue], '
                         f'0-255, for each of the {len(classes)} classes')
    mpp = info['mpp']
    problem = mpp_problem(mpp) if isinstance(mpp, int | float) else 'expected a number'
    if problem:
        raise ValueError(f'{path}: mpp {mpp}; {problem}')
    return info


def _is_color(color: object) -> bool:
    return isinstance(color, list) and len(color) == 3 and all(
        type(value) is int and 0 <= value <= 255 for value in color)


def write_info(folder: str | Path, classes: Sequence[str],
               palette: Sequence[Sequence[int]], mpp: float) -> None:
    """Writes the `dataset.json` of an image folder.

    Args:
        folder: Folder of the data set.
        classes: Class names, background first.
        palette: (red, green, blue), 0-255, of each class.
        mpp: Size of a pixel, µm.
    """
    info = dict(classes=list(classes), palette=[list(color) for color in palette],
                mpp=mpp)
    Path(folder, INFO_FILE).write_text(
        json.dumps(info, ensure_ascii=False) + '\n', encoding='utf-8')


def read_names(path: str | Path, present: Collection[str]) -> list[str]:
    """Reads a list of image names, one a line; empty lines do not count.

    Args:
        path: Text file.
        present: Names of the images in the folder.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When a name has no image or occurs twice, or the list is empty.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file; it lists names of images, '
                                'without suffix, one a line')
    lines = read_text(path).splitlines()
    line_of: dict[str, int] = {}
    for number, name in enumerate(map(str.strip, lines), 1):
        if not name:
            continue
        if name in line_of:
            raise ValueError(f'{path}, line {number}: {name!r} is already in line '
                             f'{line_of[name]}; remove one of them')
        if name not in present:
            raise ValueError(f'{path}, line {number}: no image {name!r} in {IMAGE_DIR}')
        line_of[name] = number
    if not line_of:
        raise ValueError(f'{path}: names no image')
    return list(line_of)
