# Copyright (c) CellVTA-MMSeg contributors.
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# A microscope's pixels. Screens and printers write 72, 96 or 300 dpi into the same
# field, which would be pixels of 85 µm and more.
PLAUSIBLE_MPP = (0.05, 10)  # µm/px
SQUARE = 0.05  # relative difference of width and height up to which a pixel is square


def read_on_white(shape: tuple[int, int], x: int, y: int, width: int, height: int,
                  read_inside: Callable[..., np.ndarray]) -> np.ndarray:
    """Read any rectangle from something that can be read inside its borders only.

    Args:
        shape (tuple[int, int]): (height, width) px of what is read.
        x (int): Left border of the rectangle, px.
        y (int): Upper border, px.
        width (int): Width, px.
        height (int): Height, px.
        read_inside (Callable): Called with x, y, width, height of the part inside,
            returns (height, width, 3) uint8.

    Returns:
        np.ndarray: (height, width, 3) uint8, contiguous, white outside.
    """
    left, right = max(x, 0), min(x + width, shape[1])
    top, bottom = max(y, 0), min(y + height, shape[0])
    if left >= right or top >= bottom:
        return np.full((height, width, 3), 255, np.uint8)
    inside = read_inside(left, top, right - left, bottom - top)
    if inside.shape[:2] == (height, width):
        return np.ascontiguousarray(inside)
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[top - y:bottom - y, left - x:right - x] = inside
    return picture


class UnreadableError(ValueError):
    """A file, or a part of it, that cannot be decoded."""


class SlideReader(ABC):
    """Reads rectangles of a picture or slide, level by level.

    It can be pickled, and may be used in worker processes: each opens the file anew.

    Attributes:
        name (str): File name with suffix, for messages.
        shape (tuple[int, int]): (height, width) px of level 0.
        mpp (float | None): Size of a pixel of level 0, µm, or None if not known.
        level_shapes (tuple[tuple[int, int], ...]): (height, width) px of each level.
        level_downsamples (tuple[float, ...]): Px of level 0 per px of each level, along
            one axis; 1.0 first, ascending.

    Args:
        name (str): See above.
        level_shapes (Sequence[tuple[int, int]]): See above, finest level first.
        mpp (float, optional): See above.

    Raises:
        ValueError: If `mpp` is not above 0.
    """

    is_slide = True  # whether this is a whole slide, as opposed to a picture

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
        """Read a rectangle given in px of its level.

        Args:
            level (int): Level of the pyramid, 0 is the finest.
            x (int): Left border, px; may lie outside, as any of the rectangle.
            y (int): Upper border, px.
            width (int): Width, px.
            height (int): Height, px.

        Returns:
            np.ndarray: (height, width, 3) uint8, RGB, 0-255, contiguous. Transparent
            pixels and those outside the slide are white.

        Raises:
            UnreadableError: If the file is damaged there.
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
        """As `read`, for a rectangle that lies inside the level."""

    @abstractmethod
    def close(self) -> None:
        """Close the file in this process; reading opens it again."""


def square_mpp(name: str, mpp_x: float | None, mpp_y: float | None) -> float | None:
    """Size of a pixel as a file states it.

    Args:
        name (str): File name, for the message.
        mpp_x (float | None): Width of a pixel, µm.
        mpp_y (float | None): Height of a pixel, µm.

    Returns:
        float | None: Mean of both, µm; None if one is missing or no microscope's.

    Raises:
        ValueError: If a pixel is not square.
    """
    low, high = PLAUSIBLE_MPP
    if not all(mpp and low <= mpp <= high for mpp in (mpp_x, mpp_y)):
        return None
    mean = (mpp_x + mpp_y) / 2
    if abs(mpp_x - mpp_y) > SQUARE * mean:
        raise ValueError(
            f'{name}: its pixels are {mpp_x:g} µm wide and {mpp_y:g} µm high; expected '
            'square ones; if the file is wrong, give their size with --mpp (µm/px)')
    return mean


def white_where_transparent(rgba: np.ndarray) -> np.ndarray:
    """RGB of (H, W, 4) uint8 RGBA, where pixels less than half opaque become white.

    The rest keeps its colour: OpenSlide leaves seams of 3/4 opacity between tiles where
    it interpolates, which must not shine through.
    """
    rgb, alpha = rgba[..., :3].copy(), rgba[..., 3]
    if alpha.min() < 128:
        rgb[alpha < 128] = 255
    return rgb


def _downsample(shape: tuple[int, int], level_shape: tuple[int, int]) -> float:
    """Px of level 0 per px of the level.

    Scanners halve a picture and drop or pad half pixels, so the ratio of the sizes is
    slightly off; a whole number that explains both sizes is the true one.
    """
    mean = sum(full / size for full, size in zip(shape, level_shape, strict=True)) / 2
    whole = round(mean)
    explains = all(size in (full // whole, -(-full // whole))
                   for full, size in zip(shape, level_shape, strict=True))
    return float(whole) if explains else mean


class ProcessHandle:
    """An open file that each process opens for itself when it first needs it.

    A handle of OpenSlide or tifffile must not be shared over a fork: both processes
    would move one file position.

    Args:
        open_file (Callable): Opens the file; what it returns has a ``close``. It can be
            pickled.
        path (str): Its argument.
    """

    def __init__(self, open_file: Callable[[str], Any], path: str) -> None:
        self.open_file = open_file
        self.path = path
        # By process. One inherited over a fork stays there unused: closing it could
        # wait for a lock that a thread of the other process held at the fork.
        self._handles: dict[int, Any] = {}

    def get(self) -> Any:
        """What `open_file` returned in this process."""
        pid = os.getpid()
        if pid not in self._handles:
            self._handles[pid] = self.open_file(self.path)
        return self._handles[pid]

    def close(self) -> None:
        """Close this process's file, if it is open; `get` opens it again."""
        handle = self._handles.pop(os.getpid(), None)
        if handle is not None:
            handle.close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_handles': {}}
