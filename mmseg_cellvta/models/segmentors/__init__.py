# Copyright (c) CellVTA-MMSeg contributors.
from .cell_segmentor import CellSegmentor, CellTTAModel
from .reclassifying_segmentor import CellClassifier, ReclassifyingSegmentor

__all__ = ['CellClassifier', 'CellSegmentor', 'CellTTAModel', 'ReclassifyingSegmentor']
