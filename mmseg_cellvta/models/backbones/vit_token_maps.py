# Copyright (c) CellVTA-MMSeg contributors.
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ..encoders import TimmEncoder
from ..layers import SamNeck, tokens_to_map
from .stages import NUM_STAGES, patch_grid, stage_bounds


@MODELS.register_module()
class ViTTokenMaps(BaseModule):
    """The patch tokens of a ViT at four depths, as in CellViT (arXiv:2306.15350).

    Nothing is added to the ViT: all four maps lie at 1/16, and a `HoverDecodeHead` with
    `in_strides=(1, 16, 16, 16, 16)` enlarges them.

    Args:
        encoder: Arguments of :class:`TimmEncoder`.
        out_cls_token: Return the normalised class token after the maps, for a tissue
            head; of an encoder without one, such as SAM, the mean of its neck.
    """

    def __init__(self, encoder: dict, out_cls_token: bool = False) -> None:
        super().__init__()
        self.encoder = TimmEncoder(**encoder)
        norm = self.encoder.take_norm()
        self.cls_norm = self.neck = None
        if out_cls_token and self.encoder.num_prefix_tokens:
            self.cls_norm = norm
        elif out_cls_token:
            self.neck = SamNeck(self.encoder.embed_dims)
        self.out_channels = [self.encoder.embed_dims] * NUM_STAGES
        self.stage_bounds = stage_bounds(self.encoder.num_blocks)

    def init_weights(self) -> None:
        """Does nothing: all weights are set in the constructor.

        MMEngine would call the ViT's own `init_weights` and so erase what was loaded.
        """
        self._is_init = True

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
