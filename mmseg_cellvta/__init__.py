# Copyright (c) CellVTA-MMSeg contributors.
"""Importing this package registers everything in MMSegmentation's registries.

`custom_imports = dict(imports=['mmseg_cellvta'], allow_failed_imports=False)` in a
config is all that another code base adds.
"""
from .utils.stacks import import_mmseg

import_mmseg()

from . import (  # noqa: E402
    datasets,
    engine,
    evaluation,
    models,
    post_processing,
    visualization,
)
from .version import __version__  # noqa: E402

__all__ = [
    '__version__', 'datasets', 'engine', 'evaluation', 'models', 'post_processing',
    'visualization'
]
