# Copyright (c) CellVTA-MMSeg contributors.
import timm
from timm.models.eva import Eva, checkpoint_filter_fn
from torch import Tensor


class EvaFamily:
    """timm's `Eva`, such as DINOv3: every block rotates queries and keys by place."""

    modules = ('eva', )
    positions_in_blocks = True
    filter_weights = staticmethod(checkpoint_filter_fn)

    @staticmethod
    def build(architecture: str, **model_kwargs) -> Eva:
        """Builds the ViT without classifier, for pictures of any size.

        Raises:
            ValueError: Each block has rotations of its own.
        """
        vit = timm.create_model(
            architecture, num_classes=0, dynamic_img_size=True, **model_kwargs)
        if vit.rope_mixed:
            raise ValueError(
                f'encoder.name={architecture!r}: rotations that differ from block to '
                'block are not supported; choose a DINOv3 model')
        return vit

    @staticmethod
    def embed(vit: Eva, inputs: Tensor) -> Tensor:
        """Turns a picture (N, 3, H, W) into prefix and patch tokens (N, L, C)."""
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
