# Copyright (c) CellVTA-MMSeg contributors.
from .lazyslide_model import LazySlideModel

__all__ = ['LazySlideModel']
