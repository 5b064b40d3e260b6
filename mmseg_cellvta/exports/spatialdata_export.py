# Copyright (c) CellVTA-MMSeg contributors.
"""Cells as a SpatialData store, for scanpy, squidpy and the rest of scverse."""
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ..slides import SlideReader, open_slide
from ..structures import SlideInfo
from .html_report import css_color

# Importing them takes seconds, and most users have no use for them.
if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData
    from spatialdata.transformations import BaseTransformation
    from xarray import DataArray, DataTree

CENTRE = ['x_px', 'y_px']
COLUMNS = {'cell_id', 'geometry', 'label', *CENTRE}
CHUNK = 1024  # px; 3 MiB of RGB
OUTLINES, TABLE, PICTURE = 'cells', 'cells_table', 'picture'


def export_spatialdata(parquet: str | os.PathLike, out: str | os.PathLike,
                       picture: str | os.PathLike | None = None) -> int:
    """Write what `to_spatialdata` makes; the folder appears when it is complete.

    Args:
        parquet (str | os.PathLike): See `to_spatialdata`, as for `picture` and errors.
        out (str | os.PathLike): Zarr folder to make; the one around it must exist.

    Returns:
        int: Number of cells.

    Raises:
        FileExistsError: If `out` exists.
    """
    out = Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f'{out}: exists already; delete it or choose another '
                              'folder')
    data = to_spatialdata(parquet, picture)
    with TemporaryDirectory(prefix='.', dir=out.parent) as folder:
        part = Path(folder) / out.name
        data.write(part, update_sdata_path=False)
        os.replace(part, out)
    return len(data[TABLE])


def to_spatialdata(parquet: str | os.PathLike,
                   picture: str | os.PathLike | None = None) -> 'SpatialData':
    """Bring the cells of a picture or slide into the elements of scverse.

    Outlines and picture are aligned to the coordinate systems `global` (px of level 0)
    and `um` (µm). SpatialData knows no empty shapes: without a cell there are none.

    Args:
        parquet (str | os.PathLike): File of `GeoParquetWriter`.
        picture (str | os.PathLike, optional): What the cells were found on. Pixels of
            its level 0 are read when they are used, in chunks.

    Returns:
        SpatialData: Shapes `cells` (outlines, index `cell_id`), table `cells_table` (X
        float32: measurements; obs: class; obsm: centres x, y px, embeddings), image
        `picture` (RGB uint8, 0-255, level 0 and halves of it down to `CHUNK` px).

    Raises:
        ImportError: If SpatialData is not installed.
        ValueError: If the file is not of `GeoParquetWriter`, or the picture has another
            size than the one in it.
    """
    try:
        from spatialdata import SpatialData
        from spatialdata.transformations import Identity, Scale
    except ImportError as error:
        raise ImportError(
            f'{error}; run pip install spatialdata geopandas') from error
    cells, info = _read_cells(parquet)
    transformations = {
        'global': Identity(), 'um': Scale([info.mpp, info.mpp], axes=('x', 'y'))}
    data = SpatialData()
    if len(cells):
        data[OUTLINES] = _outlines(cells, transformations)
    data[TABLE] = _table(cells, info)
    if picture is not None:
        reader = open_slide(picture, info.mpp)
        if reader.shape != tuple(info.shape):
            raise ValueError(
                f'{picture}: {_size(reader.shape)} px, but the cells of {parquet} were '
                f'found on {_size(info.shape)} px; give that picture')
        data[PICTURE] = _pyramid(reader, transformations)
    return data


def _read_cells(parquet: str | os.PathLike) -> tuple[pa.Table, SlideInfo]:
    expected = 'expected a file that tools/infer.py --formats parquet wrote'
    try:
        with pq.ParquetFile(parquet) as file:
            names, metadata = file.schema_arrow.names, file.schema_arrow.metadata or {}
            if not COLUMNS <= set(names) or b'cells' not in metadata:
                keys = b', '.join(metadata).decode()
                raise ValueError(
                    f'{parquet}: has the columns {", ".join(names)} and the metadata '
                    f'keys [{keys}]; {expected}, with its key "cells", which other '
                    'programs drop when they save it')
            return file.read(), SlideInfo(**json.loads(metadata[b'cells']))
    except pa.ArrowInvalid as error:
        raise ValueError(f'{parquet}: is not Parquet ({error}); {expected}') from error


def _outlines(cells: pa.Table,
              transformations: dict[str, 'BaseTransformation']) -> 'GeoDataFrame':
    from geopandas import GeoDataFrame
    from spatialdata.models import ShapesModel

    frame = GeoDataFrame(geometry=shapely.from_wkb(cells['geometry'].to_numpy()))
    frame.index = cells['cell_id'].to_pandas()
    return ShapesModel.parse(frame, transformations=transformations)


def _table(cells: pa.Table, info: SlideInfo) -> 'AnnData':
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    cell_ids, labels = (cells[name].to_numpy() for name in ('cell_id', 'label'))
    # Classes without cells last: where spatialdata joins table and outlines, it drops
    # the colours of those but keeps the classes, and later ones would change colour.
    order = [*np.unique(labels), *np.setdiff1d(range(1, len(info.classes)), labels)]
    obs = pd.DataFrame({
        'cell_id': cell_ids,
        'class': pd.Categorical(
            np.array(info.classes)[labels], [info.classes[label] for label in order]),
        'region': pd.Categorical([OUTLINES] * len(cells), [OUTLINES]),
    }, index=cell_ids.astype(str))
    names = [column.name for column in cells.schema
             if pa.types.is_floating(column.type) and column.name not in CENTRE]
    obsm = dict(spatial=_columns(cells, CENTRE, np.float64))
    if 'embedding' in cells.column_names:
        vectors = cells['embedding'].combine_chunks()
        # Numba, and with it much of scverse, takes no float16.
        obsm['embedding'] = vectors.flatten().to_numpy(zero_copy_only=False).reshape(
            len(vectors), vectors.type.list_size).astype(np.float32)
    uns = dict(
        mpp=info.mpp, class_colors=[css_color(info.palette[label]) for label in order])
    return TableModel.parse(
        AnnData(_columns(cells, names, np.float32), obs, pd.DataFrame(index=names), uns,
                obsm),
        region=OUTLINES if len(cells) else [], region_key='region',
        instance_key='cell_id')


def _columns(cells: pa.Table, names: list[str], dtype: type) -> np.ndarray:
    """Columns of numbers as an array (N, len(names))."""
    return np.stack([cells[name].to_numpy().astype(dtype) for name in names], axis=1)


def _pyramid(reader: SlideReader, transformations: dict[str, 'BaseTransformation']
             ) -> 'DataArray | DataTree':
    """Level 0, and halves of it, read where and when they are needed."""
    from dask import array as da
    from spatialdata.models import Image2DModel

    def read(block_info: dict) -> np.ndarray:
        _, (top, low), (left, right) = block_info[None]['array-location']  # of output
        return reader.read(0, left, top, right - left, low - top).transpose(2, 0, 1)

    chunks = da.core.normalize_chunks((3, CHUNK, CHUNK), (3, *reader.shape))
    pixels = da.map_blocks(
        read, chunks=chunks, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    halvings = int(np.ceil(np.log2(max(max(reader.shape) / CHUNK, 1))))
    return Image2DModel.parse(
        pixels, dims=('c', 'y', 'x'), c_coords=['r', 'g', 'b'],
        chunks=(3, CHUNK, CHUNK), scale_factors=[2] * halvings or None,
        transformations=transformations)


def _size(shape: tuple[int, int]) -> str:
    return f'{shape[1]} x {shape[0]}'
