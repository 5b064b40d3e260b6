# Copyright (c) CellVTA-MMSeg contributors.
from .cell_tokens import cell_tokens
from .hover_post_processor import HoverPostProcessor
from .instances import rescale_instances

__all__ = ['HoverPostProcessor', 'cell_tokens', 'rescale_instances']
