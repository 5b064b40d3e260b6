# Copyright (c) CellVTA-MMSeg contributors.
from .cell_class_metric import CellClassMetric
from .cell_instance_metric import CellInstanceMetric
from .label_array import LabelArray

__all__ = ['CellClassMetric', 'CellInstanceMetric', 'LabelArray']
