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
from .new_classes_hook import NewClassesHook
from .undefined_score_hook import UndefinedScoreHook

__all__ = [
    'CPUAmpOptimWrapper', 'CellTokenDataset', 'CellVisualizationHook',
    'NewClassesHook', 'NormalizationHook', 'PlainCheckpointHook', 'SwitchToDeployHook',
    'UndefinedScoreHook', 'UnfreezeEncoderHook'
]
