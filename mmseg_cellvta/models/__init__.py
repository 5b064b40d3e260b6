# Copyright (c) CellVTA-MMSeg contributors.
from .backbones import CellVTAAdapter, ViTTokenMaps
from .data_preprocessor import CellDataPreProcessor
from .decode_heads import HoverDecodeHead
from .encoders import TimmEncoder
from .losses import (
    FocalTverskyLoss,
    HoverDiceLoss,
    HVGradientLoss,
    HVMSELoss,
    MultiClassFocalTverskyLoss,
)
from .segmentors import (
    CellClassifier,
    CellSegmentor,
    CellTTAModel,
    ReclassifyingSegmentor,
)

__all__ = [
    'CellClassifier', 'CellDataPreProcessor', 'CellSegmentor', 'CellTTAModel',
    'CellVTAAdapter', 'FocalTverskyLoss', 'HVGradientLoss', 'HVMSELoss',
    'HoverDecodeHead', 'HoverDiceLoss', 'MultiClassFocalTverskyLoss',
    'ReclassifyingSegmentor', 'TimmEncoder', 'ViTTokenMaps'
]
