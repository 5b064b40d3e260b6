# Copyright (c) CellVTA-MMSeg contributors.
from .html_report import write_report
from .writers import (
    CellVitWriter,
    CellWriter,
    CsvWriter,
    GeoJsonWriter,
    GeoParquetWriter,
    LabelImageWriter,
    to_geojson_features,
    write_geojson,
)

# What users call a format: the end of its file names, and its writer.
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
    'GeoParquetWriter', 'LabelImageWriter', 'to_geojson_features', 'write_geojson',
    'write_report'
]
