# Copyright (c) CellVTA-MMSeg contributors.
from .cellvit_keys import from_cellvit_key
from .checkpoints import to_mmseg_key, to_released_key
from .foreign_checkpoint import load_foreign_weights

__all__ = [
    'from_cellvit_key', 'load_foreign_weights', 'to_mmseg_key', 'to_released_key'
]
