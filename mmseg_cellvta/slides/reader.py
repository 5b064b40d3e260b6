# Copyright (c) CellVTA-MMSeg contributors.
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..utils.images import UnreadableError

# A microscope's pixels. Screens and printers write 72, 96 or 300 dpi into the same
# field, which would be pixels of 85 µm and more.
PLAUSIBLE_MPP = (0.05, 10)  # µm/px
SQUARE_TOLERANCE = 0.05  # largest relative difference of a square pixel's sides
OPAQUE_ALPHA = 128  # 0-255; pixels of a slide with less are glass


def read_on_white(shape: tuple[int, int], x: int, y: int, width: int, height: int,
                  read_inside: Callable[..., np.ndarray]) -> np.ndarray:
    """Reads any rectangle of an image that can be read inside its borders only.

    Args:
        shape: (height, width) of the image, px.
        x: Left border of the rectangle, px.
        y: Upper border, px.
        width: Width, px.
        height: Height, px.
        read_inside: Called with x, y, width, height of the part inside, returns uint8
            (height, width, 3).

    Returns:
        Pixels, uint8 (height, width, 3), contiguous, white outside the image.
    """
    left, right = max(x, 0), min(x + width, shape[1])
    top, bottom = max(y, 0), min(y + height, shape[0])
    if left >= right or top >= bottom:
        return np.full((height, width, 3), 255, np.uint8)
    inside = read_inside(left, top, right - left, bottom - top)
    if inside.shape[:2] == (height, width):
        return np.ascontiguousarray(inside)
    image = np.full((height, width, 3), 255, np.uint8)
    image[top - y:bottom - y, left - x:right - x] = inside
    return image


class SlideReader(ABC):
    """Interface of all readers: rectangles of an image or slide, level by level.

    A reader can be pickled and used in worker processes: each opens the file anew.

    Attributes:
        is_slide: True for a whole slide, False for an image.
        name: File name with suffix, for messages.
        shape: (height, width) of level 0, px.
        mpp: Size of a pixel of level 0, µm; None if not known.
        level_shapes: (height, width) of each level, px, finest first.
        level_downsamples: Px of level 0 per px of each level, along one axis; 1.0
            first, ascending.

    Args:
        name: See above.
        level_shapes: See above.
        mpp: See above.

    Raises:
        ValueError: When `mpp` is not above 0.
    """

    is_slide = True

    def __init__(self, name: str, level_shapes: Sequence[tuple[int, int]],
                 mpp: float | None) -> None:
        if mpp is not None and not mpp > 0:
            raise ValueError(f'{name}: mpp={mpp}; expected µm/px above 0, such as 0.25 '
                             'for 40x')
        self.name = name
        self.mpp = mpp
        self.level_shapes = tuple(level_shapes)
        self.shape = self.level_shapes[0]
        self.level_downsamples = tuple(
            _downsample(self.shape, shape) for shape in self.level_shapes)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Reads a rectangle, which may reach over the borders.

        Args:
            level: Level of the pyramid, 0 is the finest.
            x: Left border, px of the level.
            y: Upper border, px of the level.
            width: Width, px of the level.
            height: Height, px of the level.

        Returns:
            Pixels, uint8 (height, width, 3), RGB, 0-255, contiguous. Transparent pixels
            and those outside the slide are white.

        Raises:
            UnreadableError: When the file is damaged there.
        """
        def read_inside(x: int, y: int, width: int, height: int) -> np.ndarray:
            try:
                return self._read_inside(level, x, y, width, height)
            except Exception as error:  # each library raises many types of its own
                raise UnreadableError(
                    f'{self.name}: level {level} cannot be read at x={x}, y={y} px '
                    f'({error}); copy or export the file again') from error

        return read_on_white(
            self.level_shapes[level], x, y, width, height, read_inside)

    @abstractmethod
    def _read_inside(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        """Reads a rectangle that lies inside the level."""

    @abstractmethod
    def close(self) -> None:
        """Closes the file in this process; reading opens it again."""


def square_mpp(name: str, mpp_x: float | None, mpp_y: float | None) -> float | None:
    """Returns the size of a pixel by the width and height that a file states.

    Args:
        name: File name, for the message.
        mpp_x: Width of a pixel, µm.
        mpp_y: Height of a pixel, µm.

    Returns:
        The mean of both, µm; None if one is missing or no microscope has such pixels.

    Raises:
        ValueError: When a pixel is not square.
    """
    low, high = PLAUSIBLE_MPP
    if not all(mpp and low <= mpp <= high for mpp in (mpp_x, mpp_y)):
        return None
    mean = (mpp_x + mpp_y) / 2
    if abs(mpp_x - mpp_y) > SQUARE_TOLERANCE * mean:
        raise ValueError(
            f'{name}: its pixels are {mpp_x:g} µm wide and {mpp_y:g} µm high; expected '
            'square ones; if the file is wrong, give their size with --mpp (µm/px)')
    return mean


def white_where_transparent(rgba: np.ndarray) -> np.ndarray:
    """Returns the RGB of uint8 (H, W, 4) with white for pixels less than half opaque.

    The rest keeps its colour: OpenSlide leaves seams of 3/4 opacity between tiles where
    it interpolates, and white must not shine through them.
    """
    rgb, alpha = rgba[..., :3].copy(), rgba[..., 3]
    if alpha.min() < OPAQUE_ALPHA:
        rgb[alpha < OPAQUE_ALPHA] = 255
    return rgb


def _downsample(shape: tuple[int, int], level_shape: tuple[int, int]) -> float:
    """Returns the px of level 0 per px of a level.

    Scanners halve an image and drop or pad half pixels, so the ratio of the sizes is
    slightly off; a whole number that explains both sizes is the true one.
    """
    mean = sum(full / size for full, size in zip(shape, level_shape, strict=True)) / 2
    whole = max(round(mean), 1)  # a damaged file may have a level of any size
    explains = all(size in (full // whole, -(-full // whole))
                   for full, size in zip(shape, level_shape, strict=True))
    return float(whole) if explains else mean


class ProcessHandle:
    """File that each process opens for itself when it first needs it.

    A handle of OpenSlide or tifffile must not be shared over a fork: both processes
    would move one file position.

    Args:
        open_file: Opens the file; can be pickled and returns an object with `close`.
        path: The argument of `open_file`.
    """

    def __init__(self, open_file: Callable[[str], Any], path: str) -> None:
        self.open_file = open_file
        self.path = path
        # By process. One inherited over a fork stays there unused: closing it could
        # wait for a lock that a thread of the other process held at the fork.
        self._handles: dict[int, Any] = {}

    def get(self) -> Any:
        """Returns what `open_file` returned in this process."""
        pid = os.getpid()
        if pid not in self._handles:
            self._handles[pid] = self.open_file(self.path)
        return self._handles[pid]

    def close(self) -> None:
        """Closes this process's file if it is open; `get` opens it again."""
        handle = self._handles.pop(os.getpid(), None)
        if handle is not None:
            handle.close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_handles': {}}
