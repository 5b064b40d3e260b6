# Copyright (c) CellVTA-MMSeg contributors.
from .cell_visualizer import CellVisualizer

__all__ = ['CellVisualizer']
