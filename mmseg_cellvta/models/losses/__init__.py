# Copyright (c) CellVTA-MMSeg contributors.
from .hover_losses import (
    FocalTverskyLoss,
    HoverDiceLoss,
    HVGradientLoss,
    HVMSELoss,
    MultiClassFocalTverskyLoss,
)

__all__ = [
    'FocalTverskyLoss', 'HVGradientLoss', 'HVMSELoss', 'HoverDiceLoss',
    'MultiClassFocalTverskyLoss'
]
