# Copyright (c) CellVTA-MMSeg contributors.
from .deformable_attention import DeformableAttention
from .interaction import InteractionBlock
from .recomputation import recompute
from .spatial_prior import SpatialPriorModule
from .tokens import TokenLevels, map_to_tokens, token_levels, tokens_to_map

__all__ = [
    'DeformableAttention', 'InteractionBlock', 'SpatialPriorModule', 'TokenLevels',
    'map_to_tokens', 'recompute', 'token_levels', 'tokens_to_map'
]
