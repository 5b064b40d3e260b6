# Copyright (c) CellVTA-MMSeg contributors.
from .hooks import CellVisualizationHook, NormalizationHook, PlainCheckpointHook

__all__ = ['CellVisualizationHook', 'NormalizationHook', 'PlainCheckpointHook']
