# Copyright (c) CellVTA-MMSeg contributors.
"""A small PanNuke in its authors' format, shared by tests."""
from pathlib import Path

import numpy as np

TISSUES = ('Breast', 'Adrenal_gland', 'Bile-duct', 'HeadNeck')


def draw_mask(side: int = 32, step: int = 0) -> np.ndarray:
    """Returns masks (H, W, 6) of a patch with overlaps and ids out of order."""
    mask = np.zeros((side, side, 6), np.int64)
    mask[2:8, 2 + step:8 + step, 0] = 7
    mask[5:10, 5 + step:10 + step, 4] = 7  # over the one before, with the same id
    mask[14:18, 4:8, 1] = 3
    mask[13:19, 3:9, 3] = 9  # covers the one before wholly
    mask[20:24, 20:28, 2] = 200
    mask[26:30, 20:28, 2] = 5
    mask[..., 5] = (mask[..., :5] == 0).all(axis=-1)
    return mask


def write_fold(folder: Path, num: int = 4, side: int = 32,
               image_dtype: type = np.float64, mask_dtype: type = np.float64) -> Path:
    """Writes images.npy, masks.npy and types.npy; patch 1 has no nucleus."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(num)
    images = rng.integers(0, 256, (num, side, side, 3))
    masks = np.stack([draw_mask(side, step=index % 4) for index in range(num)])
    masks[1] = 0
    masks[1, ..., 5] = 1
    np.save(folder / 'images.npy', images.astype(image_dtype))
    np.save(folder / 'masks.npy', masks.astype(mask_dtype))
    tissues = [TISSUES[index % len(TISSUES)] for index in range(num)]
    np.save(folder / 'types.npy', np.array(tissues))
    return folder
