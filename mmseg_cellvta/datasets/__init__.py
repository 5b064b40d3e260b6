# Copyright (c) CellVTA-MMSeg contributors.
from . import transforms
from .cell_dataset import CellDataset, CellFolderDataset
from .conic_dataset import CoNICDataset
from .consep_dataset import CoNSePDataset
from .pannuke_dataset import PanNukeCellDataset
from .sampler import CellWeightedSampler

__all__ = [
    'CellDataset', 'CellFolderDataset', 'CellWeightedSampler', 'CoNICDataset',
    'CoNSePDataset', 'PanNukeCellDataset', 'transforms'
]
