# Copyright (c) CellVTA-MMSeg contributors.
from .focal_tversky_loss import FocalTverskyLoss
from .hover_dice_loss import HoverDiceLoss
from .hover_losses import HVGradientLoss
from .hv_mse_loss import HVMSELoss
from .multiclass_focal_tversky_loss import MultiClassFocalTverskyLoss

__all__ = [
    'FocalTverskyLoss', 'HVGradientLoss', 'HVMSELoss', 'HoverDiceLoss',
    'MultiClassFocalTverskyLoss'
]
