# Copyright (c) CellVTA-MMSeg contributors.
from .backbones import CellVTAAdapter, ViTTokenMaps
from .data_preprocessors import CellDataPreProcessor
from .decode_heads import HoverDecodeHead
from .encoders import TimmEncoder
from .losses import (
                     FocalTverskyLoss,
                     HoverDiceLoss,
                     HVGradientLoss,
                     HVMSELoss,
                     MultiClassFocalTverskyLoss,
)
from .segmentors import CellSegmentor, CellTTAModel

__all__ = [
    'CellDataPreProcessor', 'CellSegmentor', 'CellTTAModel', 'CellVTAAdapter',
    'FocalTverskyLoss', 'HVGradientLoss', 'HVMSELoss', 'HoverDecodeHead',
    'HoverDiceLoss', 'MultiClassFocalTverskyLoss', 'TimmEncoder', 'ViTTokenMaps'
]
