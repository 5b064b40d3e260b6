# Copyright (c) CellVTA-MMSeg contributors.
__version__ = '0.1.0'
