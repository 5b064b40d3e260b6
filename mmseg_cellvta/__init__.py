# Copyright (c) CellVTA-MMSeg contributors.
"""Importing this package registers everything in MMSegmentation's registries.

`custom_imports = dict(imports=['mmseg_cellvta'], allow_failed_imports=False)` in a
config is all that another code base adds.
"""
from . import datasets, engine, evaluation, models, post_processing, visualization
from .version import __version__

__all__ = [
    '__version__', 'datasets', 'engine', 'evaluation', 'models', 'post_processing',
    'visualization'
]
