# Copyright (c) CellVTA-MMSeg contributors.
from .folder_run import FolderRun
from .inferencer import CellInferencer

__all__ = ['CellInferencer', 'FolderRun']
