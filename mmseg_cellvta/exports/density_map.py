# Copyright (c) CellVTA-MMSeg contributors.
"""Pictures of where nuclei are many: plain numpy, scipy, OpenCV and Pillow."""
import io

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

# Bins are the finest that a page shows of a slide, but no finer than a nucleus.
MAX_BINS = 500
MIN_BIN_UM = 10.0
SIGMA_BINS = 5.0  # of the smoothing: 50 µm in a picture, 1 % of the side of a slide
LEVELS = 256  # of a map; level 0 is transparent
MAX_OPACITY = 0.8  # the tissue stays visible where nuclei are densest
# Without the violet third of the colours, which would be taken for stain.
GREYS = np.linspace(85, 255, LEVELS).astype(np.uint8)[None]
COLORS = cv2.applyColorMap(GREYS, cv2.COLORMAP_VIRIDIS)[0, :, ::-1]
# Opaque soon, but from 0 on without a step that would look like a border.
OPACITIES = np.rint(
    255 * MAX_OPACITY * (1 - np.linspace(1, 0, LEVELS)**2)).astype(np.uint8)


def grid_shape(shape: tuple[int, int], mpp: float) -> tuple[int, int]:
    """(rows, columns) of the density maps of a slide of (height, width) px."""
    size = max(MIN_BIN_UM / mpp, max(shape) / MAX_BINS)
    return tuple(max(1, round(side / size)) for side in shape)


def density(counts: np.ndarray, bin_mm2: float) -> np.ndarray:
    """Smooth nuclei per bin to nuclei per mm².

    At the border of the slide the mean is taken over the part that lies inside.

    Args:
        counts (np.ndarray): (rows, columns) integer, nuclei per bin.
        bin_mm2 (float): Area of a bin, mm².

    Returns:
        np.ndarray: (rows, columns) float64, nuclei per mm².
    """
    inside = gaussian_filter(np.ones(counts.shape), SIGMA_BINS, mode='constant')
    smooth = gaussian_filter(counts.astype(float), SIGMA_BINS, mode='constant')
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
    picture.save(file, 'PNG', transparency=OPACITIES.tobytes())
    return file.getvalue()
