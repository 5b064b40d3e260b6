# Copyright (c) CellVTA-MMSeg contributors.
from .deformable_attention import DeformableAttention, map_to_tokens, tokens_to_map
from .interaction import InteractionBlock
from .spatial_prior import SpatialPriorModule

__all__ = [
    'DeformableAttention', 'InteractionBlock', 'SpatialPriorModule', 'map_to_tokens',
    'tokens_to_map'
]
