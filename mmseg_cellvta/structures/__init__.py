# Copyright (c) CellVTA-MMSeg contributors.
from .geojson import to_geojson_features, write_geojson

__all__ = ['to_geojson_features', 'write_geojson']
