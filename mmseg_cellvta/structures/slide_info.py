# Copyright (c) CellVTA-MMSeg contributors.
from dataclasses import dataclass


@dataclass(frozen=True)
class SlideInfo:
    """What writers of results need to know of a picture or slide.

    Attributes:
        name (str): File name without suffix.
        shape (tuple[int, int]): (height, width) px of level 0.
        mpp (float): Size of a pixel of level 0, µm.
        classes (tuple[str, ...]): C class names, background first.
        palette (tuple[tuple[int, int, int], ...]): C colours, RGB 0-255.
    """

    name: str
    shape: tuple[int, int]
    mpp: float
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
