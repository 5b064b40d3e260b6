# Copyright (c) CellVTA-MMSeg contributors.
from .cell_classifier_training import CellTokenDataset
from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .hooks import (
    CellVisualizationHook,
    NormalizationHook,
    PlainCheckpointHook,
    SwitchToDeployHook,
    UnfreezeEncoderHook,
)

__all__ = [
    'CPUAmpOptimWrapper', 'CellTokenDataset', 'CellVisualizationHook',
    'NormalizationHook', 'PlainCheckpointHook', 'SwitchToDeployHook',
    'UnfreezeEncoderHook'
]
