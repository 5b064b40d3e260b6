# Copyright (c) CellVTA-MMSeg contributors.
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..utils.files import UnreadableError

SMALL_BLOCK = 64  # px, side of the blocks of files that do not say theirs
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
        objective: Magnification that the file states; None if it does not.
        bounds: x, y, width, height of what was scanned, px of level 0; None if the
            file does not say it.
        remarks: What a user should know of how the file was taken, sentences.
        damaged: Blocks that were taken for glass: level, row, column of each.

    Args:
        name: See above.
        level_shapes: See above.
        mpp: See above.
        level_blocks: (height, width) of the blocks in which each level is stored, px.
        skip_damaged: Take damaged blocks for white glass.
    """

    is_slide = True

    def __init__(self, name: str, level_shapes: Sequence[tuple[int, int]],
                 mpp: float | None,
                 level_blocks: Sequence[tuple[int, int]] | None = None,
                 skip_damaged: bool = False) -> None:
        self.name = name
        self.mpp = mpp
        self.level_shapes = tuple(level_shapes)
        self._level_blocks = level_blocks or [(SMALL_BLOCK,) * 2] * len(level_shapes)
        for height, width in (*self.level_shapes, *self._level_blocks):
            if min(height, width) < 1:
                raise UnreadableError(f'{name}: a level or tile of {width} x {height} '
                                      'px; copy or export the file again')
        self.shape = self.level_shapes[0]
        self.level_downsamples = tuple(
            _downsample(self.shape, shape) for shape in self.level_shapes)
        self.objective: float | None = None
        self.bounds: tuple[int, int, int, int] | None = None
        self.remarks: tuple[str, ...] = ()
        self.damaged: set[tuple[int, int, int]] = set()
        self._skip_damaged = skip_damaged

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
            and those outside the slide are white, with `skip_damaged` damaged ones too.

        Raises:
            UnreadableError: When the file is damaged there.
        """
        def read_inside(x: int, y: int, width: int, height: int) -> np.ndarray:
            if not self.is_damaged(level, x, y, width, height):
                try:
                    return self._read_inside(level, x, y, width, height)
                except MemoryError as error:
                    raise self._too_large(level) from error
                except Exception as error:  # each library raises many types of its own
                    self._reopen(error)
            return self._read_blocks(level, x, y, width, height)

        return read_on_white(
            self.level_shapes[level], x, y, width, height, read_inside)

    def add_remarks(self, *remarks: str | None) -> None:
        """Adds sentences, those that are not None, to `remarks`."""
        self.remarks += tuple(remark for remark in remarks if remark is not None)

    def damaged_places(self) -> list[tuple[int, int]]:
        """Returns where damaged blocks begin, (x, y) px of level 0, row by row."""
        places = {self._place(*block)[::-1] for block in self.damaged}
        return [place[::-1] for place in sorted(places)]

    def is_damaged(self, level: int, x: int, y: int, width: int, height: int) -> bool:
        """Returns True if a block with known damage is in a rectangle of a level."""
        return bool(self.damaged) and any(
            (level, *block) in self.damaged
            for block, *_ in self._blocks(level, x, y, width, height))

    def _blocks(self, level: int, x: int, y: int, width: int, height: int
                ) -> Iterator[tuple[tuple[int, int], int, int, int, int]]:
        """Yields (row, column) of each block in a rectangle and x1, y1, x2, y2 of its
        part there, px of the level."""
        block_height, block_width = self._level_blocks[level]
        for row in range(y // block_height, -(-(y + height) // block_height)):
            for col in range(x // block_width, -(-(x + width) // block_width)):
                left, top = col * block_width, row * block_height
                yield ((row, col), max(left, x), max(top, y),
                       min(left + block_width, x + width),
                       min(top + block_height, y + height))

    def _read_blocks(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        """Reads block by block what cannot be read at once, to find the damaged ones.

        Raises:
            UnreadableError: Unless damaged blocks are skipped.
        """
        image = np.full((height, width, 3), 255, np.uint8)
        for block, left, top, right, bottom in self._blocks(level, x, y, width, height):
            if (level, *block) in self.damaged:
                continue
            try:
                image[top - y:bottom - y, left - x:right - x] = self._read_inside(
                    level, left, top, right - left, bottom - top)
            except MemoryError as error:
                raise self._too_large(level) from error
            except Exception as error:
                self._reopen(error)
                if not self._skip_damaged:
                    raise self._damage(level, *block, error) from error
                self.damaged.add((level, *block))
        return image

    def _reopen(self, error: Exception) -> None:
        """Opens the file again: damage of one place is no reason to fail, else it is.

        Raises:
            UnreadableError: When the file cannot be opened any more.
        """
        self.close()
        try:
            self._open()
        except Exception as gone:
            raise UnreadableError(
                f'{self.name}: cannot be opened any more ({gone})') from error

    def _too_large(self, level: int) -> UnreadableError:
        return UnreadableError(
            f'{self.name}: reading level {level} takes more memory than there is; its '
            'tiles are very large, or the file is damaged; export it with tiles of 256 '
            'or 512 px')

    def _damage(self, level: int, row: int, col: int,
                error: Exception) -> UnreadableError:
        x, y = self._find_damage(level, row, col)
        of_level = f', found on level {level}' if level else ''
        return UnreadableError(
            f'{self.name}: damaged at x={x}, y={y} px of level 0{of_level} ({error}); '
            'copy or export the file again, or take such places for glass with '
            '--skip-damaged')

    def _find_damage(self, level: int, row: int, col: int) -> tuple[int, int]:
        """Returns where the damage in a block begins, (x, y) px of level 0."""
        return self._place(level, row, col)

    def _place(self, level: int, row: int, col: int) -> tuple[int, int]:
        """Returns where a block begins, (x, y) px of level 0."""
        height, width = self._level_blocks[level]
        downsample = self.level_downsamples[level]
        return round(col * width * downsample), round(row * height * downsample)

    @abstractmethod
    def _read_inside(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        """Reads a rectangle that lies inside the level."""

    @abstractmethod
    def _open(self) -> None:
        """Opens the file in this process if it is closed."""

    @abstractmethod
    def close(self) -> None:
        """Closes the file in this process; reading opens it again."""


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
