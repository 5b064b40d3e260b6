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

# Imported where they are used: it takes seconds, and few users have them.
if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData
    from spatialdata.transformations import BaseTransformation
    from xarray import DataArray, DataTree

CENTRE_COLUMNS = ['x_px', 'y_px']
CELL_COLUMN = 'cell_geometry'
REQUIRED_COLUMNS = {'cell_id', 'geometry', 'label', *CENTRE_COLUMNS}
CHUNK = 1024  # px; 3 MiB of RGB
# Names of the elements in a store.
OUTLINES, TABLE, IMAGE, NUCLEI = 'cells', 'cells_table', 'picture', 'nuclei'


def export_spatialdata(parquet: str | os.PathLike, out: str | os.PathLike,
                       image: str | os.PathLike | None = None) -> int:
    """Writes the store of `to_spatialdata`; the folder appears when it is complete.

    Args:
        parquet: See `to_spatialdata`, as for `image` and further errors.
        out: Zarr folder to make; the one around it must exist.
        image: Image or slide on which the cells were found.

    Returns:
        Number of cells.

    Raises:
        FileExistsError: When `out` exists.
    """
    out = Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f'{out}: exists already; delete it or choose another '
                              'folder')
    data = to_spatialdata(parquet, image)
    with TemporaryDirectory(prefix='.', dir=out.parent) as folder:
        part = Path(folder) / out.name
        data.write(part, update_sdata_path=False)
        os.replace(part, out)
    return len(data[TABLE])


def to_spatialdata(parquet: str | os.PathLike,
                   image: str | os.PathLike | None = None) -> 'SpatialData':
    """Brings the cells of an image or slide into the elements of scverse.

    Outlines and image are aligned to the coordinate systems `global` (px of level 0)
    and `um` (µm). SpatialData knows no empty shapes: without a cell there are none.

    Args:
        parquet: File of `GeoParquetWriter`.
        image: Image or slide on which the cells were found. Pixels of its level 0 are
            read when they are used, in chunks.

    Returns:
        Shapes `cells` (outlines, index `cell_id`) and, of cells around nuclei, `nuclei`
        (the same of those), table `cells_table` (X float32:
        measurements; obs: class; obsm: centres (x, y) px, embeddings), image `picture`
        (RGB uint8, 0-255, level 0 and halves of it down to `CHUNK` px).

    Raises:
        ImportError: When SpatialData is not installed.
        ValueError: When the file is not of `GeoParquetWriter`, or the image has another
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
        nuclei = _outlines(cells, 'geometry', transformations)
        if CELL_COLUMN in cells.column_names:
            data[OUTLINES] = _outlines(cells, CELL_COLUMN, transformations)
            data[NUCLEI] = nuclei
        else:
            data[OUTLINES] = nuclei
    data[TABLE] = _table(cells, info)
    if image is not None:
        reader = open_slide(image, info.mpp, force_mpp=True)
        part = (*info.origin, *info.shape[::-1])
        if part not in ((0, 0, *reader.shape[::-1]), reader.bounds):
            raise ValueError(
                f'{image}: {_size(reader.shape)} px, but the cells of {parquet} were '
                f'found on {_size(info.shape)} px; give that image')
        data[IMAGE] = _pyramid(reader, info, transformations)
    return data


def _read_cells(parquet: str | os.PathLike) -> tuple[pa.Table, SlideInfo]:
    expected = 'expected a file that tools/infer.py --formats parquet wrote'
    try:
        with pq.ParquetFile(parquet, page_checksum_verification=True) as file:
            names, metadata = file.schema_arrow.names, file.schema_arrow.metadata or {}
            if not REQUIRED_COLUMNS <= set(names) or b'cells' not in metadata:
                keys = b', '.join(metadata).decode()
                raise ValueError(
                    f'{parquet}: has the columns {", ".join(names)} and the metadata '
                    f'keys [{keys}]; {expected}, with its key "cells", which other '
                    'programs drop when they save it')
            cells, about = file.read(), json.loads(metadata[b'cells'])
            shapely.from_wkb(cells['geometry'].to_numpy())
            return cells, SlideInfo(**about)
    except (pa.ArrowException, shapely.errors.ShapelyError, OSError,
            TypeError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'{parquet}: is not Parquet, or damaged ({reason}); {expected}'
                         ) from error


def _outlines(cells: pa.Table, column: str,
              transformations: dict[str, 'BaseTransformation']) -> 'GeoDataFrame':
    from geopandas import GeoDataFrame
    from spatialdata.models import ShapesModel

    frame = GeoDataFrame(geometry=shapely.from_wkb(cells[column].to_numpy()))
    frame.index = cells['cell_id'].to_pandas()
    return ShapesModel.parse(frame, transformations=transformations)


def _table(cells: pa.Table, info: SlideInfo) -> 'AnnData':
    import pandas as pd
    from anndata import AnnData
    from matplotlib.colors import to_hex
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
             if pa.types.is_floating(column.type) and column.name not in CENTRE_COLUMNS]
    obsm = dict(spatial=_columns(cells, CENTRE_COLUMNS, np.float64))
    if 'embedding' in cells.column_names:
        vectors = cells['embedding'].combine_chunks()
        # Numba, and with it much of scverse, takes no float16.
        obsm['embedding'] = vectors.flatten().to_numpy(zero_copy_only=False).reshape(
            len(vectors), vectors.type.list_size).astype(np.float32)
    colors = [to_hex(np.divide(info.palette[label], 255)) for label in order]
    return TableModel.parse(
        AnnData(
            _columns(cells, names, np.float32), obs, var=pd.DataFrame(index=names),
            uns=dict(mpp=info.mpp, class_colors=colors), obsm=obsm),
        region=OUTLINES if len(cells) else [], region_key='region',
        instance_key='cell_id')


def _columns(cells: pa.Table, names: list[str], dtype: type) -> np.ndarray:
    """Returns columns of numbers as an array (N, len(names))."""
    return np.stack([cells[name].to_numpy().astype(dtype) for name in names], axis=1)


def _pyramid(reader: SlideReader, info: SlideInfo,
             transformations: dict[str, 'BaseTransformation']
             ) -> 'DataArray | DataTree':
    """Returns level 0, or its part in which cells are counted, and halves of it, read
    where and when they are needed."""
    from dask import array as da
    from spatialdata.models import Image2DModel

    def read(block_info: dict) -> np.ndarray:
        _, (top, low), (left, right) = block_info[None]['array-location']  # of output
        x, y = left + info.origin[0], top + info.origin[1]
        return reader.read(0, x, y, right - left, low - top).transpose(2, 0, 1)

    chunks = da.core.normalize_chunks((3, CHUNK, CHUNK), (3, *info.shape))
    pixels = da.map_blocks(
        read, chunks=chunks, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    halvings = int(np.ceil(np.log2(max(max(info.shape) / CHUNK, 1))))
    return Image2DModel.parse(
        pixels, dims=('c', 'y', 'x'), c_coords=['r', 'g', 'b'],
        chunks=(3, CHUNK, CHUNK), scale_factors=[2] * halvings or None,
        transformations=transformations)


def _size(shape: tuple[int, int]) -> str:
    """Returns (height, width) as people write it."""
    return f'{shape[1]} x {shape[0]}'
