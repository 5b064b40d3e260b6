# Copyright (c) CellVTA-MMSeg contributors.
"""Size, shape and stain of nuclei (plain numpy, scikit-image)."""
import numpy as np
from skimage.color import hed_from_rgb

DARKEST = 1 / 255  # transmission below which a camera sees nothing


def measure_nuclei(inst_map: np.ndarray, image: np.ndarray,
                   mpp: float) -> dict[str, np.ndarray]:
    """Measure the nuclei of a map, in one pass over its foreground.

    Axes and eccentricity are those of the ellipse with the same second moments, as
    scikit-image's `regionprops` defines them. Stains are separated with the vectors of
    Ruifrok and Johnston (2001); a nucleus has the mean over its pixels.

    Args:
        inst_map (np.ndarray): (H, W) int32, 0 background, ids 1..N without gaps.
        image (np.ndarray): (H, W, 3) uint8 RGB, 0-255.
        mpp (float): Size of a pixel, µm.

    Returns:
        dict[str, np.ndarray]: (N,) float32 in the order of the ids: `area_um2`,
        `major_axis_um`, `minor_axis_um`, `eccentricity` (0-1), `hematoxylin_od` and
        `eosin_od` (optical density).
    """
    foreground = np.flatnonzero(inst_map > 0)
    ids = inst_map.ravel()[foreground] - 1
    rows, cols = np.divmod(foreground, inst_map.shape[1])
    num = int(inst_map.max(initial=0))
    areas = np.bincount(ids, minlength=num).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(ids, weights=values, minlength=num) / areas

    major, minor = _axes(rows, cols, ids, mean)
    hematoxylin, eosin = _stains(image.reshape(-1, 3)[foreground])
    with np.errstate(invalid='ignore'):
        eccentricity = np.sqrt(np.maximum(1 - (minor / major)**2, 0))
    features = dict(
        area_um2=areas * mpp**2, major_axis_um=major * mpp, minor_axis_um=minor * mpp,
        eccentricity=eccentricity, hematoxylin_od=mean(hematoxylin),
        eosin_od=mean(eosin))
    return {name: column.astype(np.float32) for name, column in features.items()}


def _axes(rows: np.ndarray, cols: np.ndarray, ids: np.ndarray,
          mean) -> tuple[np.ndarray, np.ndarray]:
    """Major and minor axis (N,) px of the ellipses with the same second moments."""
    y, x = rows - mean(rows)[ids], cols - mean(cols)[ids]
    # A pixel is a square, not a point: 1/12 px² along each axis.
    xx, yy, xy = mean(x * x) + 1 / 12, mean(y * y) + 1 / 12, mean(x * y)
    middle, spread = (xx + yy) / 2, np.sqrt(((xx - yy) / 2)**2 + xy**2)
    return 4 * np.sqrt(middle + spread), 4 * np.sqrt(np.maximum(middle - spread, 0))


def _stains(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Optical densities (N,) of hematoxylin and eosin in uint8 pixels (N, 3)."""
    transmission = np.arange(256, dtype=np.float32) / 255
    densities = -np.log10(np.maximum(transmission, DARKEST))[rgb]
    stains = densities @ hed_from_rgb.astype(np.float32)
    return np.maximum(stains[:, 0], 0), np.maximum(stains[:, 1], 0)
