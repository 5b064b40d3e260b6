# Copyright (c) CellVTA-MMSeg contributors.
from .cell_instance_metric import CellClassMetric, CellInstanceMetric

__all__ = ['CellClassMetric', 'CellInstanceMetric']
