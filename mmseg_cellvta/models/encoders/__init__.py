# Copyright (c) CellVTA-MMSeg contributors.
from .encoder_table import find_encoder, read_encoder_table
from .timm_encoder import TimmEncoder

__all__ = ['TimmEncoder', 'find_encoder', 'read_encoder_table']
