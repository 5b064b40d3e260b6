# Copyright (c) CellVTA-MMSeg contributors.
"""How timm's three families of ViTs are opened up.

Every family has `modules` (those of timm that it covers), `positions_in_blocks` (True
where the blocks need the patch grid), `filter_weights` (timm's function that turns the
authors' key names into its own), `build`, `embed` and `run_blocks`.
"""
import contextlib

import timm
import torch
from timm.layers import resample_abs_pos_embed_nhwc
from timm.models import eva, vision_transformer, vision_transformer_sam
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from ...utils.device_cache import DeviceCache
from ...utils.stacks import is_compiling


class VitFamily:
    """timm's `VisionTransformer`, such as UNI, Virchow or DINOv2.

    Positions are added once, before the blocks.
    """

    modules = ('vision_transformer', 'deit')
    positions_in_blocks = False
    filter_weights = staticmethod(vision_transformer.checkpoint_filter_fn)

    @staticmethod
    def build(architecture: str, **model_kwargs) -> VisionTransformer:
        """Builds the ViT without classifier, for images of any size."""
        return timm.create_model(
            architecture, num_classes=0, dynamic_img_size=True, **model_kwargs)

    @staticmethod
    def embed(vit: VisionTransformer, inputs: Tensor) -> Tensor:
        """Turns images (N, 3, H, W) into prefix and patch tokens (N, L, C)."""
        tokens = vit._pos_embed(vit.patch_embed(inputs))
        return vit.norm_pre(vit.patch_drop(tokens))

    @staticmethod
    def run_blocks(vit: VisionTransformer, tokens: Tensor, start: int, stop: int,
                   grid: tuple[int, int] | None) -> Tensor:
        """Applies blocks `start` to `stop - 1` to tokens (N, L, C)."""
        return vit.blocks[start:stop](tokens)


class EvaFamily:
    """timm's `Eva`, such as DINOv3.

    Every block rotates queries and keys by the place of their patch.
    """

    modules = ('eva', )
    positions_in_blocks = True
    filter_weights = staticmethod(eva.checkpoint_filter_fn)

    @staticmethod
    def build(architecture: str, **model_kwargs) -> Eva:
        """Builds the ViT without classifier, for images of any size.

        Raises:
            ValueError: When each block has rotations of its own.
        """
        vit = timm.create_model(
            architecture, num_classes=0, dynamic_img_size=True, **model_kwargs)
        if vit.rope_mixed:
            raise ValueError(
                f'encoder.name={architecture!r}: rotations that differ from block to '
                'block are not supported; choose a DINOv3 model')
        if vit.rope is not None:
            vit.rope = KeptRotations(vit.rope)
        return vit

    @staticmethod
    def embed(vit: Eva, inputs: Tensor) -> Tensor:
        """Turns images (N, 3, H, W) into prefix and patch tokens (N, L, C)."""
        tokens, _ = vit._pos_embed(vit.patch_embed(inputs))
        return vit.norm_pre(tokens)

    @staticmethod
    def run_blocks(vit: Eva, tokens: Tensor, start: int, stop: int,
                   grid: tuple[int, int]) -> Tensor:
        """Applies blocks `start` to `stop - 1` to tokens (N, L, C)."""
        rope = None if vit.rope is None else vit.rope.get_embed(shape=grid)
        for block in vit.blocks[start:stop]:
            tokens = block(tokens, rope=rope)
        return tokens


class KeptRotations(nn.Module):
    """Rotations of timm's `Eva`, made once per grid and device.

    timm makes them on the CPU, in every forward.

    Args:
        rope: timm's module of rotations.
    """

    def __init__(self, rope: nn.Module) -> None:
        super().__init__()
        self.rope = rope
        self.kept = DeviceCache(self._make)

    def get_embed(self, shape: tuple[int, int]) -> Tensor:
        """Returns the rotations (H*W, 2 * channels of a head) of a grid (H, W)."""
        if self.training and getattr(self.rope, 'aug_active', False):
            return self.rope.get_embed(shape=shape)  # drawn anew
        return self.kept(tuple(shape), next(self.rope.buffers()).device)

    def _make(self, shape: tuple[int, int], device: torch.device) -> Tensor:
        return self.rope.get_embed(shape=shape)


class SamFamily:
    """timm's `VisionTransformerSAM`.

    Its blocks attend within windows and by relative positions; it has no class token.
    """

    modules = ('vision_transformer_sam', )
    positions_in_blocks = True
    filter_weights = staticmethod(vision_transformer_sam.checkpoint_filter_fn)

    @staticmethod
    def build(architecture: str, **model_kwargs) -> VisionTransformerSAM:
        """Builds the ViT without its neck, for images of any size."""
        vit = timm.create_model(architecture, num_classes=0, **model_kwargs)
        # The neck narrows the last map to 256 channels for SAM's own mask decoder.
        vit.neck = nn.Identity()
        vit.norm = nn.Identity()  # the other families have both
        vit.num_prefix_tokens = 0
        return vit

    @staticmethod
    def embed(vit: VisionTransformerSAM, inputs: Tensor) -> Tensor:
        """Turns images (N, 3, H, W) into patch tokens (N, L, C)."""
        patches = vit.patch_embed(inputs)
        if vit.pos_embed is not None:  # some have relative positions alone
            patches = patches + resample_abs_pos_embed_nhwc(
                vit.pos_embed, patches.shape[1:3])
        return vit.norm_pre(vit.patch_drop(vit.pos_drop(patches))).flatten(1, 2)

    @staticmethod
    def run_blocks(vit: VisionTransformerSAM, tokens: Tensor, start: int, stop: int,
                   grid: tuple[int, int]) -> Tensor:
        """Applies blocks `start` to `stop - 1` to tokens (N, L, C)."""
        patches = tokens.unflatten(1, grid)
        # timm makes the indices of relative positions on the default device. What
        # compiles a graph moves them itself, and cannot enter this context.
        compiling = is_compiling()
        with contextlib.nullcontext() if compiling else tokens.device:
            return vit.blocks[start:stop](patches).flatten(1, 2)
