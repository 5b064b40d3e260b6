# Copyright (c) CellVTA-MMSeg contributors.
from .dataset_summary import DatasetSummary
from .patch_writer import PatchWriter
from .pending_folder import PendingFolder
from .run_converter import run_converter

__all__ = ['DatasetSummary', 'PatchWriter', 'PendingFolder', 'run_converter']
