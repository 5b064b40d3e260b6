# Copyright (c) CellVTA-MMSeg contributors.
from .cell_class_metric import CellClassMetric
from .cell_instance_metric import CellInstanceMetric

__all__ = ['CellClassMetric', 'CellInstanceMetric']
