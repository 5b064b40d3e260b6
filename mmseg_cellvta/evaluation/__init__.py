# Copyright (c) CellVTA-MMSeg contributors.
from .label_array import LabelArray
from .metrics import CellClassMetric, CellInstanceMetric

__all__ = ['CellClassMetric', 'CellInstanceMetric', 'LabelArray']
