# Copyright (c) CellVTA-MMSeg contributors.
from .cell_visualization_hook import CellVisualizationHook
from .normalization_hook import NormalizationHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .unfreeze_encoder_hook import UnfreezeEncoderHook

__all__ = [
    'CellVisualizationHook', 'NormalizationHook', 'PlainCheckpointHook',
    'UnfreezeEncoderHook'
]
