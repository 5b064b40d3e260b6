# Copyright (c) CellVTA-MMSeg contributors.
from .dataset_summary import DatasetSummary
from .patch_writer import PatchWriter
from .run_converter import run_converter

__all__ = ['DatasetSummary', 'PatchWriter', 'run_converter']
