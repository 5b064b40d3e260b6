# Copyright (c) CellVTA-MMSeg contributors.
import torch
from torch import Tensor, nn

SAM_CHANNELS = 256  # that SAM's mask decoder expects


class SamNeck(nn.Sequential):
    """The neck of SAM's image encoder (arXiv:2304.02643), averaged over the picture.

    SAM has no class token; CellViT tells tissues apart by this vector instead.

    Args:
        in_channels: Channels of the encoder's last map.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, SAM_CHANNELS, 1, bias=False),
            _ChannelNorm(SAM_CHANNELS),
            nn.Conv2d(SAM_CHANNELS, SAM_CHANNELS, 3, padding=1, bias=False),
            _ChannelNorm(SAM_CHANNELS))

    def forward(self, inputs: Tensor) -> Tensor:
        """Turns a map (N, in_channels, H, W) into vectors (N, 256)."""
        return super().forward(inputs).mean(dim=(2, 3))


class _ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map, with SAM's epsilon."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.movedim(super().forward(inputs.movedim(1, -1)), -1, 1)
