# Copyright (c) CellVTA-MMSeg contributors.
from .canvas import SlideCanvas
from .image_reader import PictureReader
from .list_inputs import list_inputs
from .open_slide import open_slide
from .reader import SlideReader, UnreadableError
from .tissue_mask import TissueMask

__all__ = [
    'PictureReader', 'SlideCanvas', 'SlideReader', 'TissueMask', 'UnreadableError',
    'list_inputs', 'open_slide'
]
