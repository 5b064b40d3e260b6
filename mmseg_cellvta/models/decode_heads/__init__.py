# Copyright (c) CellVTA-MMSeg contributors.
from .hover_decode_head import HoverDecodeHead

__all__ = ['HoverDecodeHead']
