# Copyright (c) CellVTA-MMSeg contributors.
import timm
from timm.layers import resample_abs_pos_embed_nhwc
from timm.models.vision_transformer_sam import (
    VisionTransformerSAM,
    checkpoint_filter_fn,
)
from torch import Tensor, nn


class SamFamily:
    """timm's `VisionTransformerSAM`: windows, relative positions, no class token."""

    modules = ('vision_transformer_sam', )
    positions_in_blocks = True
    filter_weights = staticmethod(checkpoint_filter_fn)

    @staticmethod
    def build(architecture: str, **model_kwargs) -> VisionTransformerSAM:
        """Builds the ViT without its neck, and with what the others have besides."""
        vit = timm.create_model(architecture, num_classes=0, **model_kwargs)
        # It narrows the last map to 256 channels for SAM's own mask decoder.
        vit.neck = nn.Identity()
        vit.norm = nn.Identity()
        vit.num_prefix_tokens = 0
        return vit

    @staticmethod
    def embed(vit: VisionTransformerSAM, inputs: Tensor) -> Tensor:
        """Turns a picture (N, 3, H, W) into patch tokens (N, L, C)."""
        patches = vit.patch_embed(inputs)
        positions = resample_abs_pos_embed_nhwc(vit.pos_embed, patches.shape[1:3])
        return vit.norm_pre(vit.patch_drop(vit.pos_drop(patches + positions))).flatten(
            1, 2)

    @staticmethod
    def run_blocks(vit: VisionTransformerSAM, tokens: Tensor, start: int, stop: int,
                   grid: tuple[int, int]) -> Tensor:
        """Applies blocks `start` to `stop - 1` to tokens (N, L, C)."""
        patches = tokens.unflatten(1, grid)
        return vit.blocks[start:stop](patches).flatten(1, 2)
