# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from ..slides import SlideCanvas, TissueMask, open_slide
from ..structures import SlideInfo
from .tile_plan import TilePlan, plan_tiles

BAND_HEIGHT = 1024  # px of the network: 20,000 columns take about 1 GB
# A nucleus reaches 15 µm from its centre, and what lies around it shapes its outline.
MARGIN_UM = 24.0


class SlideJob:
    """A picture or slide to be worked on.

    Attributes:
        reader (SlideReader): Its pixels.
        canvas (SlideCanvas): The same at the network's scale.
        info (SlideInfo): What writers need to know.

    Args:
        source (str | Path | np.ndarray): A file, or (H, W, 3) uint8 RGB pixels.
        source_mpp (float, optional): Size of its pixels, µm, if the file does not say.
        mpp (float): Size of the network's pixels, µm.
        tile (tuple[int, int]): (height, width) of a tile in those.
        overlap (tuple[int, int]): (rows, columns) that neighbouring tiles share.
        dataset_meta (dict): Has `classes` and `palette`, background first.
        tissue_only (bool, optional): Leave out tiles without tissue; None does so for
            slides but not for pictures.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or the size of its pixels is not known.
    """

    def __init__(self, source: str | Path | np.ndarray, source_mpp: float | None,
                 mpp: float, tile: tuple[int, int], overlap: tuple[int, int],
                 dataset_meta: dict, tissue_only: bool | None) -> None:
        self.reader = open_slide(source, source_mpp)
        self.canvas = SlideCanvas(self.reader, mpp)
        self.tile = tile
        self.overlap = overlap
        self.tissue_only = self.reader.is_slide if tissue_only is None else tissue_only
        name = 'array' if isinstance(source, np.ndarray) else Path(source).stem
        self.info = SlideInfo(
            name=name, shape=tuple(self.reader.shape), mpp=self.reader.mpp,
            classes=tuple(dataset_meta['classes']),
            palette=tuple(map(tuple, dataset_meta['palette'])))

    @cached_property
    def plan(self) -> TilePlan:
        """Tiles, bands and windows; looks for tissue when it is first asked for."""
        covers = self._find_tissue() if self.tissue_only else None
        return plan_tiles(self.canvas.shape, self.tile, self.overlap, BAND_HEIGHT,
                          round(MARGIN_UM / self.canvas.mpp), covers)

    def close(self) -> None:
        """Close the input's file."""
        self.reader.close()

    def _find_tissue(self) -> Callable[[int, int, int, int], bool]:
        """Whether there is tissue in x, y, width, height, px of the canvas."""
        mask = TissueMask(self.reader)
        scale_x, scale_y = self.canvas.scale
        return lambda x, y, width, height: mask.covers(
            x * scale_x, y * scale_y, width * scale_x, height * scale_y)

    @property
    def tile_mm2(self) -> float:
        """What a tile adds to the area seen, without its overlap."""
        rows, columns = self.plan.stride
        return rows * columns * (self.canvas.mpp / 1000)**2
