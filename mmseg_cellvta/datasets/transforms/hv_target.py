# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np


def hv_target(inst_map: np.ndarray) -> np.ndarray:
    """Computes the horizontal and vertical distance of pixels to their nucleus' centre.

    This is the regression target of HoVer-Net (Graham et al., Medical Image Analysis
    2019, section 3.1), with the centre convention of its released code: pixels count
    from one, the centre from zero, so the zero lies one pixel left of and above the
    rounded centre of mass. Distances are scaled per nucleus, axis and side to reach -1
    and 1.

    The cost is linear in the pixels: nuclei are grouped by id, never masked one by one.

    Args:
        inst_map: Nucleus ids, (H, W) of any integer dtype, 0 background. Gaps between
            the ids are allowed.

    Returns:
        Distances, (2, H, W) float32 in [-1, 1], x (horizontal) first, 0 on background.

    Raises:
        ValueError: When the map is not two-dimensional or not of an integer dtype.
    """
    if inst_map.ndim != 2 or not np.issubdtype(inst_map.dtype, np.integer):
        raise ValueError(
            f'inst_map: shape {inst_map.shape}, dtype {inst_map.dtype}; expected '
            '(H, W) of an integer dtype. Pass the map of instance ids.')
    hv_map = np.zeros((2, *inst_map.shape), dtype=np.float32)
    foreground = np.flatnonzero(inst_map)
    ids, groups, areas = np.unique(
        inst_map.ravel()[foreground], return_inverse=True, return_counts=True)
    rows, cols = np.divmod(foreground, inst_map.shape[1])
    for channel, position in zip(hv_map.reshape(2, -1), (cols, rows), strict=True):
        mean = np.bincount(groups, weights=position, minlength=len(ids)) / areas
        zero = np.floor(mean + 0.5).astype(np.int64) - 1
        offset = position - zero[groups]
        channel[foreground] = _scale_sides(offset, groups, len(ids))
    return hv_map


def _scale_sides(offset: np.ndarray, groups: np.ndarray, num: int) -> np.ndarray:
    """Divides negative and positive offsets by the largest of their own nucleus."""
    lowest = np.zeros(num, dtype=np.int64)
    highest = np.zeros(num, dtype=np.int64)
    np.minimum.at(lowest, groups, offset)
    np.maximum.at(highest, groups, offset)
    scale = np.where(offset < 0, -lowest[groups], highest[groups])
    # Where the scale is 0 the offset is 0 too.
    return offset.astype(np.float32) / np.maximum(scale, 1).astype(np.float32)
