# Copyright (c) CellVTA-MMSeg contributors.
import timm
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor


class VitFamily:
    """timm's `VisionTransformer`, such as UNI, Virchow or DINOv2.

    Positions are added once, before the blocks. Every family has these members.
    """

    modules = ('vision_transformer', 'deit')  # of timm
    positions_in_blocks = False  # whether the blocks need the patch grid
    filter_weights = staticmethod(checkpoint_filter_fn)

    @staticmethod
    def build(architecture: str, **model_kwargs) -> VisionTransformer:
        """Builds the ViT without classifier, for pictures of any size."""
        return timm.create_model(
            architecture, num_classes=0, dynamic_img_size=True, **model_kwargs)

    @staticmethod
    def embed(vit: VisionTransformer, inputs: Tensor) -> Tensor:
        """Turns a picture (N, 3, H, W) into prefix and patch tokens (N, L, C)."""
        tokens = vit._pos_embed(vit.patch_embed(inputs))
        return vit.norm_pre(vit.patch_drop(tokens))

    @staticmethod
    def run_blocks(vit: VisionTransformer, tokens: Tensor, start: int, stop: int,
                   grid: tuple[int, int] | None) -> Tensor:
        """Applies blocks `start` to `stop - 1` to tokens (N, L, C)."""
        return vit.blocks[start:stop](tokens)
