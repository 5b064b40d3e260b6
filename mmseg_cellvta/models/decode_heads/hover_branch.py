# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn


class HoverBranch(nn.Module):
    """One decoder from 1/16 to full resolution, with a skip at every level.

    Args:
        in_channels: Channels of the 1/16 map.
        widths: Channels at 1/1, 1/2, 1/4, 1/8.
        out_channels: Maps that the branch predicts.
        norm_cfg: Normalisation layer.
        bottleneck_conv: Convolve the 1/16 map after it was enlarged.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], out_channels: int,
                 norm_cfg: dict, bottleneck_conv: bool) -> None:
        super().__init__()
        c1, c2, c4, c8 = widths
        self.bottleneck = deconv_block(in_channels, c8, norm_cfg)
        if not bottleneck_conv:
            self.bottleneck = self.bottleneck[:1]
        # From 1/8 to full resolution; each takes the skip beside the upsampled map.
        self.levels = nn.ModuleList([
            nn.Sequential(
                conv_block(2 * c8, c8, norm_cfg), conv_block(c8, c8, norm_cfg),
                conv_block(c8, c8, norm_cfg), nn.ConvTranspose2d(c8, c4, 2, stride=2)),
            nn.Sequential(
                conv_block(2 * c4, c4, norm_cfg), conv_block(c4, c4, norm_cfg),
                nn.ConvTranspose2d(c4, c2, 2, stride=2)),
            nn.Sequential(
                conv_block(2 * c2, c2, norm_cfg), conv_block(c2, c2, norm_cfg),
                nn.ConvTranspose2d(c2, c1, 2, stride=2)),
            nn.Sequential(
                conv_block(2 * c1, c1, norm_cfg), conv_block(c1, c1, norm_cfg),
                nn.Conv2d(c1, out_channels, 1))
        ])

    def forward(self, skips: list[Tensor], deepest: Tensor) -> Tensor:
        """Decodes one branch.

        Args:
            skips: Encoded skips at 1/1, 1/2, 1/4, 1/8.
            deepest: The 1/16 map (N, in_channels, H/16, W/16).

        Returns:
            (N, out_channels, H, W) logits or values.
        """
        x = self.bottleneck(deepest)
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            x = level(torch.cat([skip, x], dim=1))
        return x


def conv_block(in_channels: int, channels: int, norm_cfg: dict) -> ConvModule:
    """3x3 convolution, normalisation, ReLU."""
    # The bias is redundant before a BatchNorm, but the released weights have one.
    return ConvModule(
        in_channels, channels, 3, padding=1, bias=True, norm_cfg=norm_cfg)


def deconv_block(in_channels: int, channels: int, norm_cfg: dict) -> nn.Sequential:
    """Transposed convolution to twice the size, then a `conv_block`."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, channels, 2, stride=2),
        conv_block(channels, channels, norm_cfg))
