# Copyright (c) CellVTA-MMSeg contributors.
from mmseg.registry import MODELS
from torch import Tensor

from .focal_tversky_loss import FocalTverskyLoss
from .tversky import focal_tversky, one_hot, probabilities


@MODELS.register_module()
class MultiClassFocalTverskyLoss(FocalTverskyLoss):
    """Sum over the classes, background included, of their focal Tversky losses.

    A class that the batch lacks contributes its full loss whatever is predicted, as in
    the released code; it shifts the figure, not the gradient.
    """

    loss_name = 'multiclass_focal_tversky'

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of logits (N, C, H, W) for class ids (N, H, W)."""
        probs = probabilities(logits, self.softmax)
        target = one_hot(target, logits.shape[1])
        per_class = focal_tversky(probs, target, dim=(0, 2, 3), **self.weights)
        return self.loss_weight * per_class.sum()
