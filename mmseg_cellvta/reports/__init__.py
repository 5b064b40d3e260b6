# Copyright (c) CellVTA-MMSeg contributors.
from .cell_statistics import CellStatistics
from .write_report import write_report

__all__ = ['CellStatistics', 'write_report']
