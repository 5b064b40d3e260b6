# Copyright (c) CellVTA-MMSeg contributors.
from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .hooks import CellVisualizationHook
from .normalization_hook import NormalizationHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .unfreeze_encoder_hook import UnfreezeEncoderHook

__all__ = [
    'CPUAmpOptimWrapper', 'CellVisualizationHook', 'NormalizationHook',
    'PlainCheckpointHook', 'UnfreezeEncoderHook'
]
