# Copyright (c) CellVTA-MMSeg contributors.
from .cell_table import CellTable
from .geojson import to_geojson_features, write_geojson
from .slide_info import SlideInfo

__all__ = ['CellTable', 'SlideInfo', 'to_geojson_features', 'write_geojson']
