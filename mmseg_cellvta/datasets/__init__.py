# Copyright (c) CellVTA-MMSeg contributors.
from . import transforms
from .cell_folder_dataset import CellFolderDataset
from .cell_token_dataset import CellTokenDataset
from .conic_dataset import CoNICDataset
from .consep_dataset import CoNSePDataset
from .pannuke_dataset import PanNukeCellDataset
from .sampler import CellWeightedSampler

__all__ = [
    'CellFolderDataset', 'CellTokenDataset', 'CellWeightedSampler', 'CoNICDataset',
    'CoNSePDataset', 'PanNukeCellDataset', 'transforms'
]
