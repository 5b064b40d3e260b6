# Copyright (c) CellVTA-MMSeg contributors.
from .cell_classifier_training import CellTokenDataset
from .class_names_hook import ClassNamesHook
from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .hooks import (
    CellVisualizationHook,
    NormalizationHook,
    PlainCheckpointHook,
    SwitchToDeployHook,
    UnfreezeEncoderHook,
)
from .resume_hook import ResumeHook

__all__ = [
    'CPUAmpOptimWrapper', 'CellTokenDataset', 'CellVisualizationHook', 'ClassNamesHook',
    'NormalizationHook', 'PlainCheckpointHook', 'ResumeHook', 'SwitchToDeployHook',
    'UnfreezeEncoderHook'
]
