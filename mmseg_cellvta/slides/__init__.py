# Copyright (c) CellVTA-MMSeg contributors.
from .list_inputs import list_inputs
from .open_slide import open_slide
from .picture_reader import PictureReader
from .slide_canvas import SlideCanvas
from .slide_reader import SlideReader, UnreadableError
from .tissue_mask import TissueMask

__all__ = [
    'PictureReader', 'SlideCanvas', 'SlideReader', 'TissueMask', 'UnreadableError',
    'list_inputs', 'open_slide'
]
