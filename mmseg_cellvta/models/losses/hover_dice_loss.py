# Copyright (c) CellVTA-MMSeg contributors.
from mmseg.registry import MODELS
from torch import Tensor, nn

from .tversky import one_hot


@MODELS.register_module()
class HoverDiceLoss(nn.Module):
    """HoVer-Net's Dice loss (arXiv:1812.06499, eq. 6), summed over the classes.

    Args:
        loss_weight: Factor of the loss.
        smooth: Added to numerator and denominator.
    """

    loss_name = 'dice'

    def __init__(self, loss_weight: float = 1.0, smooth: float = 1e-3) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of logits (N, C, H, W) for class ids (N, H, W)."""
        probs = logits.softmax(dim=1)
        target = one_hot(target, logits.shape[1])
        dims = (0, 2, 3)  # a class is judged over the whole batch
        overlap = 2 * (probs * target).sum(dims) + self.smooth
        total = probs.sum(dims) + target.sum(dims) + self.smooth
        return self.loss_weight * (1 - overlap / total).sum()
