# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import numpy as np

from ..utils.images import ImageFacts, read_image, read_image_facts
from ..utils.pixel_size import choose_mpp
from .reader import SlideReader


class ImageReader(SlideReader):
    """Reader of an image that fits into memory: png, jpg, bmp, plain tif, or an array.

    Args:
        source: Image file, or uint8 (H, W, 3), RGB, 0-255.
        mpp: Size of a pixel, µm; None for what the file states.
        force_mpp: See `open_slide`.

    Raises:
        FileNotFoundError: When there is no such file.
        UnreadableError: When the file is damaged.
        ValueError: When the image does not have 8 bits per channel, a TIFF file holds
            several, the array is no RGB image, or pixels are not square.
    """

    is_slide = False

    def __init__(self, source: Path | np.ndarray, mpp: float | None = None,
                 force_mpp: bool = False) -> None:
        self._source = source
        self._image = None
        name, facts = 'array', ImageFacts(None)
        if isinstance(source, Path):
            name, facts = source.name, read_image_facts(source)
        elif source.dtype != np.uint8 or source.shape[2:] != (3,) or not source.size:
            raise ValueError(f'array: shape {source.shape} of {source.dtype}; expected '
                             'an RGB image (H, W, 3) of uint8, 0-255')
        mpp, remark = choose_mpp(name, mpp, force_mpp, *(facts.mpp or ()))
        super().__init__(name, [self._load().shape[:2]], mpp)
        self.objective = facts.objective
        self.add_remarks(facts.remark, remark)

    def _load(self) -> np.ndarray:
        if isinstance(self._source, np.ndarray):
            return self._source
        if self._image is None:
            self._image = read_image(self._source)
        return self._image

    def _read_inside(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        return self._load()[y:y + height, x:x + width].copy()

    def _open(self) -> None:
        self._load()

    def close(self) -> None:
        self._image = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_image': None}
