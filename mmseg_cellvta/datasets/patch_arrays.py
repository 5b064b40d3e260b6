# Copyright (c) CellVTA-MMSeg contributors.
"""Patches of one size in a folder, as CoNIC distributes them.

- ``images.npy``: uint8 (N, H, W, 3), RGB, 0-255.
- ``labels.npy``: integer (N, H, W, 2), instance ids and class ids, 0 background.
- ``patch_info.csv``: a column ``patch_info`` with N names, and ``tissue`` where the
  patches come from several.
"""
import csv
import os.path as osp
from collections import Counter

import numpy as np

from .labels import open_npy

PATCH_IMAGES, PATCH_LABELS, PATCH_INFO = 'images.npy', 'labels.npy', 'patch_info.csv'


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
    images, labels = check_arrays(osp.join(folder, PATCH_IMAGES), osp.join(folder, PATCH_LABELS))
    rows = read_rows(osp.join(folder, PATCH_INFO))
    if len(rows) != len(images):
        raise ValueError(f'{folder}: {PATCH_INFO} names {len(rows)} patches, {PATCH_IMAGES} holds '
                         f'{len(images)} images')
    return images, labels, rows


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
