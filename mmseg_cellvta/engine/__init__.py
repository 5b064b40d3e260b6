# Copyright (c) CellVTA-MMSeg contributors.
from .hooks import CellVisualizationHook, PlainCheckpointHook

__all__ = ['CellVisualizationHook', 'PlainCheckpointHook']
