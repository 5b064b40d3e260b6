# Copyright (c) CellVTA-MMSeg contributors.
from mmseg.registry import MODELS
from torch import Tensor

from ..layers import SamNeck, tokens_to_map
from .vit_backbone import NUM_STAGES, ViTBackbone, patch_grid


@MODELS.register_module()
class ViTTokenMaps(ViTBackbone):
    """The patch tokens of a ViT at four depths, as in CellViT (arXiv:2306.15350).

    Nothing is added to the ViT: all four maps lie at 1/16, and a `HoverDecodeHead` with
    `in_strides=(1, 16, 16, 16, 16)` enlarges them.

    Args:
        encoder: Arguments of :class:`TimmEncoder`.
        out_cls_token: Return the normalised class token after the maps, for a tissue
            head; of an encoder without one, such as SAM, the mean of its neck.
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
            inputs: (N, 3, H, W) float tensor, normalised; H and W are multiples of 16.

        Returns:
            Four maps (N, C, H/16, W/16), the shallowest first, and after them, with
            `out_cls_token`, the class token (N, C) or the mean of the neck (N, 256).

        Raises:
            ValueError: H or W is no multiple of 16.
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
