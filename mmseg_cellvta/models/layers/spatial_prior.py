# Copyright (c) CellVTA-MMSeg contributors.
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn


class SpatialPriorModule(nn.Module):
    """The convolutional branch that reads the image at 1/2 to 1/16 resolution.

    As in ViT-Adapter (arXiv:2205.08534, section 3.3), but one octave finer and with a
    strided convolution in place of the max-pooling: nuclei are small.

    Args:
        channels: Channels at 1/2; twice as many at 1/4, four times at 1/8 and 1/16.
        embed_dims: Channels of the ViT.
        norm_cfg: Normalisation layer.
    """

    def __init__(self, channels: int, embed_dims: int, norm_cfg: dict) -> None:
        super().__init__()
        c1, c2, c4 = channels, 2 * channels, 4 * channels
        self.stem = nn.Sequential(
            *_conv(3, c1, 1, norm_cfg),
            *_conv(c1, c1, 1, norm_cfg),
            *_conv(c1, c1, 1, norm_cfg),
            nn.Conv2d(c1, c1, 3, stride=2, padding=1, bias=False))
        self.conv2 = _stage(c1, c2, norm_cfg)
        self.conv3 = _stage(c2, c4, norm_cfg)
        self.conv4 = _stage(c4, c4, norm_cfg)
        self.fc1 = nn.Conv2d(c1, embed_dims, 1)
        self.fc2 = nn.Conv2d(c2, embed_dims, 1)
        self.fc3 = nn.Conv2d(c4, embed_dims, 1)
        self.fc4 = nn.Conv2d(c4, embed_dims, 1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reads images (N, 3, H, W).

        Returns:
            (N, channels, H/2, W/2), which `fc1` brings to the channels of the ViT where
            it is needed, and three maps (N, embed_dims, H/s, W/s), s = 4, 8, 16.
        """
        half = self.stem(inputs)
        quarter = self.conv2(half)
        eighth = self.conv3(quarter)
        sixteenth = self.conv4(eighth)
        return half, self.fc2(quarter), self.fc3(eighth), self.fc4(sixteenth)


def _conv(in_channels: int, channels: int, stride: int, norm_cfg: dict) -> list:
    return [
        nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False),
        build_norm_layer(norm_cfg, channels)[1],
        nn.ReLU(inplace=True)
    ]


def _stage(in_channels: int, channels: int, norm_cfg: dict) -> nn.Sequential:
    return nn.Sequential(*_conv(in_channels, in_channels, 1, norm_cfg),
                         *_conv(in_channels, channels, 2, norm_cfg))
