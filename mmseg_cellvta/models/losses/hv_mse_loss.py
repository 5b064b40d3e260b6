# Copyright (c) CellVTA-MMSeg contributors.
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


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
        """Scalar loss of HV maps (N, 2, H, W); `nuclei` does not matter here."""
        return self.loss_weight * F.mse_loss(hv, target)
