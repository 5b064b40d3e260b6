# Copyright (c) CellVTA-MMSeg contributors.
from .hooks import (
    CellVisualizationHook,
    NormalizationHook,
    PlainCheckpointHook,
    UnfreezeEncoderHook,
)

__all__ = [
    'CellVisualizationHook', 'NormalizationHook', 'PlainCheckpointHook',
    'UnfreezeEncoderHook'
]
