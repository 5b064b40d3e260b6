# Copyright (c) CellVTA-MMSeg contributors.
