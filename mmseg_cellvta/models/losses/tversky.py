# Copyright (c) CellVTA-MMSeg contributors.
"""What both Tversky losses share."""
import torch
from torch import Tensor
from torch.nn import functional as F

SOFTMAX_MODES = ('once', 'twice')


def check_softmax(softmax: str) -> str:
    """Returns `softmax`, or raises ValueError if it is no known mode."""
    if softmax not in SOFTMAX_MODES:
        raise ValueError(f'softmax={softmax!r}: choose from {list(SOFTMAX_MODES)}')
    return softmax


def probabilities(logits: Tensor, softmax: str) -> Tensor:
    """Softmax over the channels of (N, C, H, W) logits.

    'twice' is what the released code does: its losses take probabilities for logits.
    """
    probs = logits.softmax(dim=1)
    return probs.softmax(dim=1) if softmax == 'twice' else probs


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    """(N, H, W) class ids to (N, C, H, W) float32 zeros and ones."""
    return F.one_hot(target, num_classes).movedim(-1, 1).float()


def focal_tversky(probs: Tensor, target: Tensor, dim: tuple[int, ...], alpha: float,
                  beta: float, gamma: float, smooth: float = 1e-6) -> Tensor:
    """Focal Tversky loss (arXiv:1810.07842, eq. 3 and 4), sums taken over `dim`."""
    tp = (probs * target).sum(dim)
    fp = (probs * (1 - target)).sum(dim)
    fn = ((1 - probs) * target).sum(dim)
    index = (tp + smooth) / (tp + alpha * fn + beta * fp + smooth)
    # Rounding can lift the index above 1, whose fractional power is NaN.
    return torch.clamp(1 - index, min=0) ** gamma
