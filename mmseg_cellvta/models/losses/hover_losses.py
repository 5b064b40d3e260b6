# Copyright (c) CellVTA-MMSeg contributors.
"""Losses of the three branches: NP and NC from logits, HV from maps.

Classes are (N, H, W) int64 ids, logits (N, C, H, W). All losses are scalars.
"""
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

SOFTMAX_MODES = ('once', 'twice')
GRADIENT_AXES = ('matching', 'swapped')
GRADIENT_KERNEL_SIZE = 5  # px
TVERSKY_SMOOTH = 1e-6  # added to numerator and denominator
DICE_SMOOTH = 1e-3


def probabilities(logits: Tensor, softmax: str = 'once') -> Tensor:
    """Returns the softmax over the channels of (N, C, H, W) logits.

    'twice' is what the released code does: its losses take probabilities for logits.
    """
    probs = logits.softmax(dim=1)
    return probs.softmax(dim=1) if softmax == 'twice' else probs


def one_hot(target: Tensor, probs: Tensor) -> Tensor:
    """Turns (N, H, W) class ids into zeros and ones like `probs`, (N, C, H, W).

    torch's own makes an int64 map of every class on the way.
    """
    return torch.zeros_like(probs).scatter_(1, target[:, None], 1)


def focal_tversky(probs: Tensor, target: Tensor, dim: tuple[int, ...], alpha: float,
                  beta: float, gamma: float) -> Tensor:
    """Computes the focal Tversky loss (arXiv:1810.07842, eq. 3 and 4) over `dim`."""
    tp = (probs * target).sum(dim)
    fp = (probs * (1 - target)).sum(dim)
    fn = ((1 - probs) * target).sum(dim)
    index = (tp + TVERSKY_SMOOTH) / (tp + alpha * fn + beta * fp + TVERSKY_SMOOTH)
    # Rounding can lift the index above 1, whose fractional power is NaN.
    return torch.clamp(1 - index, min=0) ** gamma


@MODELS.register_module()
class FocalTverskyLoss(nn.Module):
    """Focal Tversky loss (arXiv:1810.07842) over all channels at once.

    Args:
        loss_weight: Factor of the loss.
        softmax: 'once', or 'twice' as in the released CellVTA code.
        alpha: Weight of false negatives.
        beta: Weight of false positives.
        gamma: Focusing exponent.

    Raises:
        ValueError: When `softmax` is neither.
    """

    loss_name = 'focal_tversky'
    summed_dims = (0, 1, 2, 3)

    def __init__(self,
                 loss_weight: float = 1.0,
                 softmax: str = 'once',
                 alpha: float = 0.7,
                 beta: float = 0.3,
                 gamma: float = 4 / 3) -> None:
        super().__init__()
        if softmax not in SOFTMAX_MODES:
            raise ValueError(f'softmax={softmax!r}: choose from {list(SOFTMAX_MODES)}')
        self.loss_weight = loss_weight
        self.softmax = softmax
        self.weights = dict(alpha=alpha, beta=beta, gamma=gamma)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss of logits (N, C, H, W) for class ids (N, H, W)."""
        probs = probabilities(logits, self.softmax)
        losses = focal_tversky(
            probs, one_hot(target, probs), self.summed_dims, **self.weights)
        return self.loss_weight * losses.sum()


@MODELS.register_module()
class MultiClassFocalTverskyLoss(FocalTverskyLoss):
    """Sum over the classes, background included, of their focal Tversky losses.

    A class that the batch lacks contributes its full loss whatever is predicted, as in
    the released code; it shifts the figure, not the gradient.
    """

    loss_name = 'multiclass_focal_tversky'
    summed_dims = (0, 2, 3)


@MODELS.register_module()
class HoverDiceLoss(nn.Module):
    """HoVer-Net's Dice loss (arXiv:1812.06499, eq. 6), summed over the classes.

    Args:
        loss_weight: Factor of the loss.
    """

    loss_name = 'dice'

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss of logits (N, C, H, W) for class ids (N, H, W)."""
        probs = probabilities(logits)
        target = one_hot(target, probs)
        dims = (0, 2, 3)  # a class is judged over the whole batch
        overlap = 2 * (probs * target).sum(dims) + DICE_SMOOTH
        total = probs.sum(dims) + target.sum(dims) + DICE_SMOOTH
        return self.loss_weight * (1 - overlap / total).sum()


@MODELS.register_module()
class HVMSELoss(nn.Module):
    """Mean squared error of the HV maps over all pixels (arXiv:1812.06499, eq. 3).

    Args:
        loss_weight: Factor of the loss.
    """

    loss_name = 'mse'

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, hv: Tensor, target: Tensor, nuclei: Tensor) -> Tensor:
        """Computes the loss of HV maps (N, 2, H, W); `nuclei` does not matter here."""
        return self.loss_weight * F.mse_loss(hv, target)


@MODELS.register_module()
class HVGradientLoss(nn.Module):
    """Mean squared error of the HV maps' gradients (arXiv:1812.06499, eq. 4).

    Args:
        loss_weight: Factor of the loss.
        axes: 'matching' derives the horizontal map along x and the vertical one along
            y; 'swapped' does the reverse, as the released CellVTA code does.

    Raises:
        ValueError: When `axes` is neither.
    """

    loss_name = 'msge'

    def __init__(self, loss_weight: float = 1.0, axes: str = 'matching') -> None:
        super().__init__()
        if axes not in GRADIENT_AXES:
            raise ValueError(f'axes={axes!r}: choose from {list(GRADIENT_AXES)}')
        self.loss_weight = loss_weight
        offset = torch.arange(GRADIENT_KERNEL_SIZE) - GRADIENT_KERNEL_SIZE // 2
        y, x = torch.meshgrid(offset.float(), offset.float(), indexing='ij')
        along_x, along_y = (d / (x**2 + y**2 + 1e-15) for d in (x, y))
        kernels = [along_x, along_y] if axes == 'matching' else [along_y, along_x]
        self.register_buffer('kernels', torch.stack(kernels)[:, None], persistent=False)

    def forward(self, hv: Tensor, target: Tensor, nuclei: Tensor) -> Tensor:
        """Computes the loss of HV maps (N, 2, H, W) inside `nuclei` (N, H, W), 0/1."""
        error = F.conv2d(
            hv - target, self.kernels, padding=GRADIENT_KERNEL_SIZE // 2, groups=2)
        focus = nuclei[:, None].to(error)
        # The mask counts once per map, as both share it.
        return self.loss_weight * (focus * error**2).sum() / (2 * focus.sum() + 1e-8)
