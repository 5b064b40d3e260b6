# Copyright (c) CellVTA-MMSeg contributors.
"""Generated slides whose content is known, shared by tests."""
from pathlib import Path

import cv2
import numpy as np
import tifffile

TILE = 128  # px


def color_field(height: int, width: int) -> np.ndarray:
    """Smooth RGB image uint8 (H, W, 3): red grows along x, green along y."""
    y, x = np.mgrid[:height, :width]
    wave = 128 + 100 * np.sin(x / 29) * np.cos(y / 41)
    return np.stack([
        20 + 200 * x / width, 30 + 180 * y / height, wave], -1).round().astype(np.uint8)


def write_slide(path: Path, image: np.ndarray, mpp: float | None = 0.5,
                levels: int = 1, ome: bool = False) -> Path:
    """Write RGB (H, W, 3) as tiled TIFF or OME-TIFF; each level halves the one before.

    OpenSlide takes the plain TIFF, and only tiffslide the OME-TIFF.
    """
    options = dict(tile=(TILE, TILE), photometric='rgb', compression='deflate')
    if mpp and not ome:
        options.update(resolution=(1e4 / mpp,) * 2, resolutionunit='CENTIMETER')
    metadata = dict(axes='YXS') if ome else None
    if mpp and ome:
        metadata.update(PhysicalSizeX=mpp, PhysicalSizeY=mpp)
    with tifffile.TiffWriter(path, ome=ome) as tiff:
        tiff.write(image, metadata=metadata, subifds=levels - 1 if ome else 0,
                   **options)
        for _ in range(1, levels):
            image = halve(image)
            factor = dict(resolution=(1e4 / mpp,) * 2) if mpp and not ome else {}
            tiff.write(image, metadata=None, subfiletype=1, **{**options, **factor})
    return path


def halve(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 px; an odd last row or column is dropped, as scanners do."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return cv2.resize(image[:2 * height, :2 * width], (width, height),
                      interpolation=cv2.INTER_AREA)
