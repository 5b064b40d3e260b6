# Copyright (c) CellVTA-MMSeg contributors.
from .canvas import SlideCanvas, TissueMask
from .image_reader import ImageReader
from .open_slide import list_inputs, open_slide
from .reader import SlideReader, UnreadableError

__all__ = [
    'ImageReader', 'SlideCanvas', 'SlideReader', 'TissueMask', 'UnreadableError',
    'list_inputs', 'open_slide'
]
