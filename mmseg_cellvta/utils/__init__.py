# Copyright (c) CellVTA-MMSeg contributors.
from .released_keys import to_mmseg_key, to_released_key

__all__ = ['to_mmseg_key', 'to_released_key']
