# Copyright (c) CellVTA-MMSeg contributors.
from . import samplers, transforms
from .cell_folder_dataset import CellFolderDataset
from .conic_dataset import CoNICDataset
from .consep_dataset import CoNSePDataset
from .pannuke_dataset import PanNukeCellDataset

__all__ = [
    'CellFolderDataset', 'CoNICDataset', 'CoNSePDataset', 'PanNukeCellDataset',
    'samplers', 'transforms'
]
