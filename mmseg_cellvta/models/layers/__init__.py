# Copyright (c) CellVTA-MMSeg contributors.
from .deformable_attention import DeformableAttention
from .interaction import InteractionBlock
from .sam_neck import SamNeck
from .spatial_prior import SpatialPriorModule
from .tokens import map_to_tokens, tokens_to_map

__all__ = [
    'DeformableAttention', 'InteractionBlock', 'SamNeck', 'SpatialPriorModule',
    'map_to_tokens', 'tokens_to_map'
]
