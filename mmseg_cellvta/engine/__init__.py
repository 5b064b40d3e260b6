# Copyright (c) CellVTA-MMSeg contributors.
from .hooks import (
    CellVisualizationHook,
    NormalizationHook,
    PlainCheckpointHook,
    UnfreezeEncoderHook,
)
from .optim_wrappers import CPUAmpOptimWrapper

__all__ = [
    'CPUAmpOptimWrapper', 'CellVisualizationHook', 'NormalizationHook',
    'PlainCheckpointHook', 'UnfreezeEncoderHook'
]
