# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..slides import SlideCanvas, TissueMask, open_slide, result_name
from ..structures import SlideInfo
from .tiles import TilePlan, band_height, plan_tiles, window_margin

ORIGINS = ('slide', 'bounds')


class InputOptions(NamedTuple):
    """How inputs are taken, and what is made of them.

    Attributes:
        force_mpp: Take given µm/px also where a file states others.
        skip_damaged: Take damaged tiles of a slide for white glass.
        origin: From where cells are counted: 'slide', its upper left corner, or
            'bounds', that of the part that was scanned, from which QuPath counts.
        expand_um: How far cells reach from their nuclei, µm; None for nuclei only.
    """

    force_mpp: bool = False
    skip_damaged: bool = False
    origin: str = 'slide'
    expand_um: float | None = None

    @property
    def settings(self) -> dict:
        """Those on which results depend; without what earlier versions did anyway."""
        found = dict(skip_damaged=self.skip_damaged, origin=self.origin,
                     expand_um=self.expand_um)
        return {name: value for name, value in found.items()
                if value != InputOptions._field_defaults[name]}


class SlideJob:
    """An image or slide to be worked on.

    Attributes:
        reader: Its pixels, a `SlideReader`.
        canvas: The same at the network's scale.
        info: What writers need to know.

    Args:
        source: A file, or (H, W, 3) uint8 RGB pixels.
        source_mpp: Size of its pixels, µm; None for what the file says.
        mpp: Size of the network's pixels, µm.
        tile: (height, width) of a tile in those.
        overlap: (rows, columns) that neighbouring tiles share.
        dataset_meta: Has `classes` and `palette`, background first.
        tissue_only: Leave out tiles without tissue; None does so for slides but not for
            images.
        options: How to open it, and from where to count.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it cannot be read, or the size of its pixels is not known.
    """

    def __init__(self, source: str | Path | np.ndarray, source_mpp: float | None,
                 mpp: float, tile: tuple[int, int], overlap: tuple[int, int],
                 dataset_meta: dict, tissue_only: bool | None,
                 options: InputOptions) -> None:
        self.options = options
        self.reader = open_slide(
            source, source_mpp, options.force_mpp, options.skip_damaged)
        self.canvas = SlideCanvas(self.reader, mpp)
        self.in_memory = isinstance(source, np.ndarray)
        self.tile = tile
        self.overlap = overlap
        self.tissue_only = self.reader.is_slide if tissue_only is None else tissue_only
        name = 'array' if self.in_memory else result_name(Path(source))
        x, y, width, height = 0, 0, *self.reader.shape[::-1]
        if options.origin == 'bounds' and self.reader.bounds is not None:
            x, y, width, height = self.reader.bounds
        self.info = SlideInfo(
            name=name, shape=(height, width), mpp=self.reader.mpp,
            classes=tuple(dataset_meta['classes']),
            palette=tuple(map(tuple, dataset_meta['palette'])), origin=(x, y))

    @cached_property
    def plan(self) -> TilePlan:
        """Tiles, bands and windows; looks for tissue when it is first asked for."""
        covers = self._find_tissue() if self.tissue_only else None
        expand_um = self.options.expand_um
        return plan_tiles(self.canvas.shape, self.tile, self.overlap,
                          window_margin(self.canvas.mpp, expand_um), covers,
                          band_height(expand_um))

    @property
    def seen_mm2(self) -> float:
        """Area of the image or slide that tiles cover, mm²."""
        return self.plan.covered_px * (self.canvas.mpp / 1000)**2

    @property
    def facts(self) -> dict:
        """What a summary says of how the input was taken; JSON values."""
        reader, remarks = self.reader, list(self.reader.remarks)
        facts = dict(origin=self.options.origin)
        if reader.bounds is not None:
            facts['bounds'] = reader.bounds
        if self.options.skip_damaged:
            places = reader.damaged_places()
            facts['damaged_tiles'] = len(places)
            if places:
                tiles = 'tile is' if len(places) == 1 else 'tiles are'
                remarks.append(
                    f'{reader.name}: {len(places)} damaged {tiles} taken for glass, '
                    f'from x={places[0][0]}, y={places[0][1]} px of level 0 on')
        return facts | (dict(remarks=remarks) if remarks else {})

    def close(self) -> None:
        """Closes the input's file."""
        self.reader.close()

    def _find_tissue(self) -> Callable[[int, int, int, int], bool]:
        """Returns what tells if tissue is in x, y, width, height, px of the canvas."""
        mask = TissueMask(self.reader)
        scale_x, scale_y = self.canvas.scale
        return lambda x, y, width, height: mask.covers(
            x * scale_x, y * scale_y, width * scale_x, height * scale_y)
