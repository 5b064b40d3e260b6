# Copyright (c) CellVTA-MMSeg contributors.
from mmseg.registry import MODELS
from torch import Tensor, nn

from .tversky import check_softmax, focal_tversky, one_hot, probabilities


@MODELS.register_module()
class FocalTverskyLoss(nn.Module):
    """Focal Tversky loss (arXiv:1810.07842) over all channels at once.

    Args:
        loss_weight: Factor of the loss.
        softmax: 'once', or 'twice' as in the released CellVTA code.
        alpha: Weight of false negatives.
        beta: Weight of false positives.
        gamma: Focusing exponent.
    """

    loss_name = 'focal_tversky'

    def __init__(self,
                 loss_weight: float = 1.0,
                 softmax: str = 'once',
                 alpha: float = 0.7,
                 beta: float = 0.3,
                 gamma: float = 4 / 3) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.softmax = check_softmax(softmax)
        self.weights = dict(alpha=alpha, beta=beta, gamma=gamma)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of logits (N, C, H, W) for class ids (N, H, W)."""
        probs = probabilities(logits, self.softmax)
        target = one_hot(target, logits.shape[1])
        return self.loss_weight * focal_tversky(
            probs, target, dim=(0, 1, 2, 3), **self.weights)
