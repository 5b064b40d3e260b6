# Copyright (c) CellVTA-MMSeg contributors.
from .cell_classifier import CellClassifier

__all__ = ['CellClassifier']
