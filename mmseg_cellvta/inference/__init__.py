# Copyright (c) CellVTA-MMSeg contributors.
from .cell_inferencer import CellInferencer
from .folder_run import FolderRun

__all__ = ['CellInferencer', 'FolderRun']
