# Copyright (c) CellVTA-MMSeg contributors.
from torch import Tensor, nn

from .extractor import Extractor
from .injector import Injector
from .tokens import Shapes


class InteractionBlock(nn.Module):
    """The exchange around one stage of the ViT: inject before it, extract after it.

    Args:
        embed_dims: Channels of tokens and pyramid.
        injector_init: First value of the injector's scale; None for no injector.
        num_extractors: Extractors, one after the other.
        conv_ffn_ratio: Hidden channels of the ConvFFN relative to `embed_dims`; None
            for no ConvFFN.
        drop_path_rate: Stochastic depth of the ConvFFN.
        attention: `num_heads`, `num_points`, `value_ratio` of `DeformableAttention`.
    """

    def __init__(self, embed_dims: int, injector_init: float | None,
                 num_extractors: int, conv_ffn_ratio: float | None,
                 drop_path_rate: float, attention: dict) -> None:
        super().__init__()
        self.injector = None if injector_init is None else Injector(
            embed_dims, injector_init, attention)
        self.extractors = nn.ModuleList(
            Extractor(embed_dims, conv_ffn_ratio, drop_path_rate, attention)
            for _ in range(num_extractors))

    def inject(self, x: Tensor, pyramid: Tensor, grid: tuple[int, int],
               shapes: Shapes) -> Tensor:
        """Returns the patch tokens (N, L, C) that the stage's blocks shall read."""
        if self.injector is None:
            return x
        return self.injector(x, pyramid, grid, shapes)

    def extract(self, x: Tensor, pyramid: Tensor, grid: tuple[int, int],
                shapes: Shapes) -> Tensor:
        """Returns the pyramid tokens (N, K, C) after they have read `x`."""
        for extractor in self.extractors:
            pyramid = extractor(x, pyramid, grid, shapes)
        return pyramid
