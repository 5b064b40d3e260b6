# Copyright (c) CellVTA-MMSeg contributors.
from .label_image import LabelImageWriter
from .tenx_writers import SpaceRangerMaskWriter, SpaceRangerWriter, XeniumWriter
from .writers import (
    CellVitWriter,
    CellWriter,
    CsvWriter,
    GeoJsonWriter,
    GeoParquetWriter,
    read_parquet,
)

# By the name that users give a format: the ends of its file names, and their writers.
FORMATS = {
    'geojson': {'.geojson': GeoJsonWriter},
    'geojson.gz': {'.geojson.gz': GeoJsonWriter},
    'parquet': {'.parquet': GeoParquetWriter},
    'csv': {'_centroids.csv': CsvWriter},
    'cellvit': {'_cells.json': CellVitWriter},
    'labels': {'_labels.ome.tiff': LabelImageWriter},
    'spaceranger': {'_spaceranger.geojson': SpaceRangerWriter,
                    '_spaceranger.tiff': SpaceRangerMaskWriter},
    'xenium': {'_xenium.geojson': XeniumWriter},
}

__all__ = [
    'FORMATS', 'CellVitWriter', 'CellWriter', 'CsvWriter', 'GeoJsonWriter',
    'GeoParquetWriter', 'LabelImageWriter', 'SpaceRangerMaskWriter',
    'SpaceRangerWriter', 'XeniumWriter', 'read_parquet'
]
