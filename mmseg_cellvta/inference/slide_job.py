# Copyright (c) CellVTA-MMSeg contributors.
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..slides import SlideCanvas, SlideReader, TissueMask, open_slide
from ..structures import SlideInfo
from .tile_plan import TilePlan, plan_tiles

BAND_HEIGHT = 1024  # px of the network: 20,000 columns of a band are 0.6 GB of maps
# A nucleus reaches 15 µm from its centre, and what lies around it shapes its outline.
MARGIN_UM = 24.0


@dataclass
class SlideJob:
    """A picture or slide that is ready to be worked on.

    Attributes:
        reader (SlideReader): Its pixels.
        canvas (SlideCanvas): The same at the network's scale.
        plan (TilePlan): Tiles, bands and windows.
        info (SlideInfo): What writers need to know.
    """

    reader: SlideReader
    canvas: SlideCanvas
    plan: TilePlan
    info: SlideInfo

    @property
    def tile_mm2(self) -> float:
        """What a tile adds to the area seen, without its overlap."""
        rows, columns = self.plan.stride
        return rows * columns * (self.canvas.mpp / 1000)**2


def prepare_slide(source: str | Path | np.ndarray, source_mpp: float | None,
                  mpp: float, tile: tuple[int, int], overlap: tuple[int, int],
                  dataset_meta: dict, tissue_only: bool | None) -> SlideJob:
    """Open a picture or slide and lay tiles over it.

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
    reader = open_slide(source, source_mpp)
    canvas = SlideCanvas(reader, mpp)
    covers = None
    if reader.is_slide if tissue_only is None else tissue_only:
        mask = TissueMask(reader)
        (scale_x, scale_y) = canvas.scale

        def covers(x: int, y: int, width: int, height: int) -> bool:
            return mask.covers(
                x * scale_x, y * scale_y, width * scale_x, height * scale_y)

    plan = plan_tiles(
        canvas.shape, tile, overlap, BAND_HEIGHT, round(MARGIN_UM / mpp), covers)
    name = 'array' if isinstance(source, np.ndarray) else Path(source).stem
    info = SlideInfo(
        name=name, shape=tuple(reader.shape), mpp=reader.mpp,
        classes=tuple(dataset_meta['classes']),
        palette=tuple(map(tuple, dataset_meta['palette'])))
    return SlideJob(reader, canvas, plan, info)
