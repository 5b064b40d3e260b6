# Copyright (c) CellVTA-MMSeg contributors.
from .label_array import LabelArray
from .metrics import CellInstanceMetric

__all__ = ['CellInstanceMetric', 'LabelArray']
