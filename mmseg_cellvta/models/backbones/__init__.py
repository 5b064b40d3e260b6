# Copyright (c) CellVTA-MMSeg contributors.
from .cellvta_adapter import CellVTAAdapter

__all__ = ['CellVTAAdapter']
