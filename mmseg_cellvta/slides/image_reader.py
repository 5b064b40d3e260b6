# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import numpy as np
from PIL import Image

from ..utils.images import read_image
from .reader import SlideReader, UnreadableError, square_mpp

MICROMETRES_PER_INCH = 25400


class ImageReader(SlideReader):
    """Reads a picture that fits into memory: png, jpg, bmp, tif, or an array.

    Args:
        source (Path | np.ndarray): The file, or (H, W, 3) uint8, RGB, 0-255.
        mpp (float, optional): Size of a pixel, µm, instead of the file's.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableError: If the file is damaged or not of 8 bits.
        ValueError: If the array is no RGB picture, or pixels are not square.
    """

    is_slide = False

    def __init__(self, source: Path | np.ndarray, mpp: float | None = None) -> None:
        self._source = source
        self._picture = None
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.shape[2:] != (3,) or not source.size:
                raise ValueError(f'array: shape {source.shape} of {source.dtype}; '
                                 'expected an RGB picture (H, W, 3) of uint8, 0-255')
            name = 'array'
        else:
            name = source.name
        picture = self._load()
        if mpp is None and isinstance(source, Path):
            mpp = _stated_mpp(source)
        super().__init__(name, [picture.shape[:2]], mpp)

    def _load(self) -> np.ndarray:
        if isinstance(self._source, np.ndarray):
            return self._source
        if self._picture is None:
            try:
                self._picture = read_image(self._source)
            except ValueError as error:
                reason = str(error).removeprefix(f'{self._source}: ')
                raise UnreadableError(f'{self._source.name}: {reason}') from error
        return self._picture

    def _read_inside(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        return self._load()[y:y + height, x:x + width].copy()

    def close(self) -> None:
        self._picture = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_picture': None}


def _stated_mpp(path: Path) -> float | None:
    """Size of a pixel, µm, by the file's resolution; None if it states none."""
    with Image.open(path) as image:
        dpi = image.info.get('dpi', (0, 0))
    return square_mpp(path.name, *(
        MICROMETRES_PER_INCH / float(value) if value else None for value in dpi))
