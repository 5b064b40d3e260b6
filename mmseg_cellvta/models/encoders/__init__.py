# Copyright (c) CellVTA-MMSeg contributors.
from .timm_encoder import TimmEncoder

__all__ = ['TimmEncoder']
