# Copyright (c) CellVTA-MMSeg contributors.
from .canvas import SlideCanvas, TissueMask
from .image_reader import ImageReader
from .inputs import InputList, list_inputs, result_name, slide_files
from .open_slide import open_slide
from .reader import SlideReader, UnreadableError

__all__ = [
    'ImageReader', 'InputList', 'SlideCanvas', 'SlideReader', 'TissueMask',
    'UnreadableError', 'list_inputs', 'open_slide', 'result_name', 'slide_files'
]
