# Copyright (c) CellVTA-MMSeg contributors.
from .cell_writer import CellWriter
from .cellvit_writer import CellVitWriter
from .csv_writer import CsvWriter
from .geojson_writer import GeoJsonWriter
from .geoparquet_writer import GeoParquetWriter
from .writers import LabelImageWriter

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
    'GeoParquetWriter', 'LabelImageWriter'
]
