# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..slides import SlideCanvas
from .tile_plan import TilePlan


class TileBatches(Dataset):
    """The tiles of a slide in batches, row of tiles by row of tiles.

    A batch never spans two rows of tiles, so that it holds the same tiles wherever the
    work begins: results do not depend on interruptions or on who does which band.

    Args:
        canvas (SlideCanvas): The slide at the network's scale.
        plan (TilePlan): Where the tiles lie.
        rows (range): Rows of tiles to read.
        batch_size (int): Tiles per batch, at most.
    """

    def __init__(self, canvas: SlideCanvas, plan: TilePlan, rows: range,
                 batch_size: int) -> None:
        self.canvas = canvas
        self.plan = plan
        self.jobs = [
            (row, plan.lefts[row][first:first + batch_size])
            for row in rows
            for first in range(0, len(plan.lefts[row]), batch_size)]

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> tuple[int, tuple[int, ...], torch.Tensor]:
        """Row of tiles, first columns px, and (B, h, w, 3) uint8 RGB pixels."""
        row, lefts = self.jobs[index]
        height, width = self.plan.tile
        tiles = [self.canvas.read(left, self.plan.tops[row], width, height)
                 for left in lefts]
        return row, lefts, torch.from_numpy(np.stack(tiles))

    def read_ahead(self, num_workers: int) -> Iterator:
        """All batches in order, read by worker processes if there are any."""
        if num_workers == 0:
            return (self[index] for index in range(len(self)))
        return iter(DataLoader(self, batch_size=None, num_workers=num_workers))
