# Copyright (c) CellVTA-MMSeg contributors.
"""CellViT's backbone: a plain ViT, and SAM's neck where it has no class token."""
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import tokens_to_map
from .vit_backbone import NUM_STAGES, ViTBackbone, patch_grid

SAM_CHANNELS = 256  # that SAM's mask decoder expects


@MODELS.register_module()
class ViTTokenMaps(ViTBackbone):
    """The patch tokens of a ViT at four depths, as in CellViT (arXiv:2306.15350).

    Nothing is added to the ViT: all four maps lie at 1/16, and a `HoverDecodeHead` with
    `in_strides=(1, 16, 16, 16, 16)` enlarges them.

    Args:
        encoder: Arguments of `TimmEncoder`.
        out_cls_token: Return the normalised class token after the maps, for a tissue
            head; from an encoder without one, such as SAM, the mean of SAM's neck.
    """

    def __init__(self, encoder: dict, out_cls_token: bool = False) -> None:
        super().__init__(encoder)
        norm = self.encoder.take_norm()
        self.cls_norm = self.neck = None
        if out_cls_token and self.encoder.num_prefix_tokens:
            self.cls_norm = norm
        elif out_cls_token:
            self.neck = SamNeck(self.encoder.embed_dims)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Computes the maps.

        Args:
            inputs: (N, 3, H, W) float, normalised images; H and W are multiples of 16.

        Returns:
            Four maps (N, C, H/16, W/16), the shallowest first, and after them, with
            `out_cls_token`, the class token (N, C) or the mean of the neck (N, 256).

        Raises:
            ValueError: When H or W is no multiple of 16.
        """
        grid = patch_grid(inputs)
        tokens = self.encoder.embed(inputs)
        outputs = []
        for stage in range(NUM_STAGES):
            tokens = self.encoder.run_blocks(
                tokens, *self.stage_bounds[stage:stage + 2], grid)
            patches = tokens[:, self.encoder.num_prefix_tokens:]
            outputs.append(tokens_to_map(patches, grid))
        if self.cls_norm is not None:
            outputs.append(self.cls_norm(tokens[:, 0]))
        elif self.neck is not None:
            outputs.append(self.neck(outputs[-1]))
        return tuple(outputs)


class SamNeck(nn.Sequential):
    """The neck of SAM's image encoder (arXiv:2304.02643), averaged over the image.

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
