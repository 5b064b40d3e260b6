# Copyright (c) CellVTA-MMSeg contributors.
from .hover_post_processor import HoverPostProcessor
from .instances import rescale_instances

__all__ = ['HoverPostProcessor', 'rescale_instances']
