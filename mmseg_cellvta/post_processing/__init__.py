# Copyright (c) CellVTA-MMSeg contributors.
from .hover_post_processor import HoverPostProcessor
from .instances import cell_tokens, rescale_instances

__all__ = ['HoverPostProcessor', 'cell_tokens', 'rescale_instances']
