# Copyright (c) CellVTA-MMSeg contributors.
from .writers import (
    CellVitWriter,
    CellWriter,
    CsvWriter,
    GeoJsonWriter,
    GeoParquetWriter,
    LabelImageWriter,
    read_parquet,
)

# By the name that users give a format: the end of its file names, and its writer.
FORMATS = {
    'geojson': ('.geojson', GeoJsonWriter),
    'geojson.gz': ('.geojson.gz', GeoJsonWriter),
    'parquet': ('.parquet', GeoParquetWriter),
    'csv': ('_centroids.csv', CsvWriter),
    'cellvit': ('_cells.json', CellVitWriter),
    'labels': ('_labels.ome.tiff', LabelImageWriter),
}

__all__ = [
    'FORMATS', 'CellVitWriter', 'CellWriter', 'CsvWriter', 'GeoJsonWriter',
    'GeoParquetWriter', 'LabelImageWriter', 'read_parquet'
]
