# Copyright (c) CellVTA-MMSeg contributors.
from .cell_segmentor import CellSegmentor
from .cell_tta_model import CellTTAModel
from .reclassifying_segmentor import ReclassifyingSegmentor

__all__ = ['CellSegmentor', 'CellTTAModel', 'ReclassifyingSegmentor']
