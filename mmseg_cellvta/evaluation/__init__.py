# Copyright (c) CellVTA-MMSeg contributors.
from .cell_instance_metric import CellClassMetric, CellInstanceMetric
from .exchange import LabelArray

__all__ = ['CellClassMetric', 'CellInstanceMetric', 'LabelArray']
