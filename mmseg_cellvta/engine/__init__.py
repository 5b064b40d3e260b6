# Copyright (c) CellVTA-MMSeg contributors.
from .best_score_hook import BestScoreHook
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
from .new_classes_hook import NewClassesHook
from .resume_hook import ResumeHook

__all__ = [
    'BestScoreHook', 'CPUAmpOptimWrapper', 'CellTokenDataset', 'CellVisualizationHook',
    'ClassNamesHook', 'NewClassesHook', 'NormalizationHook', 'PlainCheckpointHook',
    'ResumeHook', 'SwitchToDeployHook', 'UnfreezeEncoderHook'
]
