# Copyright (c) CellVTA-MMSeg contributors.
from .cell_table import CellTable, SlideInfo

__all__ = ['CellTable', 'SlideInfo']
