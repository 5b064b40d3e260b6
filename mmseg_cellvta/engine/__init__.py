# Copyright (c) CellVTA-MMSeg contributors.
from .best_score_hook import BestScoreHook
from .cell_classifier_training import CellTokenDataset
from .class_names_hook import ClassNamesHook
from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .hooks import CellVisualizationHook, NormalizationHook, SwitchToDeployHook
from .new_classes_hook import NewClassesHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .resume_hook import ResumeHook
from .unfreeze_encoder_hook import UnfreezeEncoderHook

__all__ = [
    'BestScoreHook', 'CPUAmpOptimWrapper', 'CellTokenDataset', 'CellVisualizationHook',
    'ClassNamesHook', 'NewClassesHook', 'NormalizationHook', 'PlainCheckpointHook',
    'ResumeHook', 'SwitchToDeployHook', 'UnfreezeEncoderHook'
]
