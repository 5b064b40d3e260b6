# Copyright (c) CellVTA-MMSeg contributors.
from .cellvta_adapter import CellVTAAdapter
from .vit_token_maps import ViTTokenMaps

__all__ = ['CellVTAAdapter', 'ViTTokenMaps']
