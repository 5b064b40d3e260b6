# Copyright (c) CellVTA-MMSeg contributors.
from .cell_instance_metric import CellInstanceMetric

__all__ = ['CellInstanceMetric']
