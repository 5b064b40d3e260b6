# Copyright (c) CellVTA-MMSeg contributors.
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

AXES = ('matching', 'swapped')
KERNEL_SIZE = 5  # px


@MODELS.register_module()
class HVGradientLoss(nn.Module):
    """Mean squared error of the HV maps' gradients (arXiv:1812.06499, eq. 4).

    Args:
        loss_weight: Factor of the loss.
        axes: 'matching' derives the horizontal map along x and the vertical one along
            y; 'swapped' does the reverse, as the released CellVTA code does.

    Raises:
        ValueError: `axes` is neither.
    """

    loss_name = 'msge'

    def __init__(self, loss_weight: float = 1.0, axes: str = 'matching') -> None:
        super().__init__()
        if axes not in AXES:
            raise ValueError(f'axes={axes!r}: choose from {list(AXES)}')
        self.loss_weight = loss_weight
        offset = torch.arange(KERNEL_SIZE) - KERNEL_SIZE // 2
        y, x = torch.meshgrid(offset.float(), offset.float(), indexing='ij')
        along_x, along_y = (d / (x**2 + y**2 + 1e-15) for d in (x, y))
        kernels = [along_x, along_y] if axes == 'matching' else [along_y, along_x]
        self.register_buffer('kernels', torch.stack(kernels)[:, None], persistent=False)

    def forward(self, hv: Tensor, target: Tensor, nuclei: Tensor) -> Tensor:
        """Scalar loss of HV maps (N, 2, H, W) inside `nuclei` (N, H, W) 0/1."""
        error = F.conv2d(
            hv - target, self.kernels, padding=KERNEL_SIZE // 2, groups=2)
        focus = nuclei[:, None].to(error)
        # The mask counts once per map, as both share it.
        return self.loss_weight * (focus * error**2).sum() / (2 * focus.sum() + 1e-8)
