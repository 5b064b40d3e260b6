# Copyright (c) CellVTA-MMSeg contributors.
from .cell_weighted_sampler import CellWeightedSampler

__all__ = ['CellWeightedSampler']
