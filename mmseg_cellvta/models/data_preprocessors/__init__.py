# Copyright (c) CellVTA-MMSeg contributors.
from .cell_data_preprocessor import CellDataPreProcessor

__all__ = ['CellDataPreProcessor']
