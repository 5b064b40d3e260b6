# Copyright (c) CellVTA-MMSeg contributors.
"""Pictures of where nuclei are many: plain numpy, scipy, OpenCV and Pillow."""
import io

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

MAX_GRID_SIDE = 512  # bins; the map is smooth, finer bins would show nothing more
SMOOTHING = 0.01  # sigma, of the longer side of the grid
LEVELS = 64  # of a map; level 0 is transparent
MAX_OPACITY = 0.8  # the tissue stays visible where nuclei are densest
COLORS = cv2.applyColorMap(
    np.linspace(0, 255, LEVELS).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
# Opaque soon: faint violet would be taken for stain.
OPACITIES = np.rint(
    255 * MAX_OPACITY * np.linspace(0, 1, LEVELS)**0.5).astype(np.uint8)


def grid_shape(picture_shape: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the density maps over a thumbnail of (height, width) px."""
    scale = min(1, MAX_GRID_SIDE / max(picture_shape))
    return tuple(max(1, round(side * scale)) for side in picture_shape)


def smoothing_bins(shape: tuple[int, int]) -> float:
    """Sigma of the smoothing of a grid of (rows, columns), in bins."""
    return SMOOTHING * max(shape)


def density(counts: np.ndarray, bin_mm2: float) -> np.ndarray:
    """Smooth nuclei per bin to nuclei per mm².

    At the border of the slide the mean is taken over the part that lies inside.

    Args:
        counts (np.ndarray): (rows, columns) integer, nuclei per bin.
        bin_mm2 (float): Area of a bin, mm².

    Returns:
        np.ndarray: (rows, columns) float64, nuclei per mm².
    """
    sigma = smoothing_bins(counts.shape)
    inside = gaussian_filter(np.ones(counts.shape), sigma, mode='constant')
    smooth = gaussian_filter(counts.astype(float), sigma, mode='constant')
    return smooth / inside / bin_mm2


def round_up(value: float) -> float:
    """The next number of the form 1, 1.5, 2, 3, 5, 7 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0**np.floor(np.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 5, 7, 10)
                if step * power >= value * (1 - 1e-9))


def encode_map(values: np.ndarray, top: float) -> bytes:
    """A PNG picture of a density map, transparent where there are no nuclei.

    Args:
        values (np.ndarray): (rows, columns) nuclei per mm².
        top (float): Value of the last colour, nuclei per mm².
    """
    levels = np.rint(np.clip(values / top, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    return _encode_levels(levels)


def encode_color_bar() -> bytes:
    """A PNG picture, 1 px high, of all colours from low to high, as over white."""
    return _encode_levels(np.arange(LEVELS, dtype=np.uint8)[None])


def _encode_levels(levels: np.ndarray) -> bytes:
    picture = Image.fromarray(levels)
    picture.putpalette(COLORS.tobytes())
    file = io.BytesIO()
    picture.save(file, 'PNG', optimize=True, transparency=OPACITIES.tobytes())
    return file.getvalue()
