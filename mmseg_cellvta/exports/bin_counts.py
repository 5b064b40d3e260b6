# Copyright (c) CellVTA-MMSeg contributors.
"""Molecules of a Visium HD run, counted in squares of 2 µm, as counts per cell."""
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from scipy import sparse

from ..structures.cell_table import CellTable, ring_polygons
from ..utils.files import complete_file
from .writers import read_parquet, read_parquet_info

# Imported where they are used: few users have them.
if TYPE_CHECKING:
    from anndata import AnnData

SQUARES_AT_ONCE = 1 << 20
MATRIX = 'filtered_feature_bc_matrix.h5'
POSITIONS = Path('spatial', 'tissue_positions.parquet')
POSITION_COLUMNS = ['barcode', 'pxl_col_in_fullres', 'pxl_row_in_fullres']  # x, y


def find_owners(polygons: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Tells in which cell each square lies: in the one around its centre.

    As in Space Ranger, a centre on a border lies in none, and one in two cells in the
    later one.

    Args:
        polygons: (N,) polygons, px.
        centres: (M, 2) float, (x, y) px.

    Returns:
        (M,) int64 rows of `polygons`, -1 for none.
    """
    tree = shapely.STRtree(polygons)
    owners = np.full(len(centres), -1)
    for begin in range(0, len(centres), SQUARES_AT_ONCE):
        points = shapely.points(centres[begin:begin + SQUARES_AT_ONCE])
        squares, cells = tree.query(points, predicate='within')
        np.maximum.at(owners, begin + squares, cells)
    return owners


def sum_by_owner(counts: sparse.csr_matrix, owners: np.ndarray,
                 num_cells: int) -> sparse.csr_matrix:
    """Adds up the rows (M, G) of squares that belong to a cell: (N, G)."""
    inside = np.flatnonzero(owners >= 0)
    belongs = sparse.csr_matrix(
        (np.ones(len(inside), counts.dtype), (owners[inside], inside)),
        shape=(num_cells, len(owners)))
    return belongs @ counts


def count_per_cell(parquet: str | os.PathLike, squares: str | os.PathLike) -> 'AnnData':
    """Counts the molecules of a Visium HD run in the cells of its image.

    Args:
        parquet: What `tools/infer.py` has written of the run's microscope image.
        squares: The run's folder `binned_outputs/square_002um`.

    Returns:
        X: counts (N, G); obs: `cell_id`, `class`, `squares` (number of them); var: ids
        of genes, `gene_name`; obsm `spatial`: centres (x, y) px.

    Raises:
        ImportError: When anndata is not installed.
        ValueError: When a file is not what it should be, or no square lies in a cell.
        OSError: When a file cannot be read.
    """
    try:
        from anndata import AnnData
    except ImportError as error:
        raise ImportError(f'{error}; run pip install anndata') from error
    import pandas as pd

    info, tables = read_parquet_info(parquet), read_parquet(parquet)
    if info is None or tables is None:
        raise ValueError(
            f'{parquet}: is no file that tools/infer.py wrote, or was changed since')
    cells = CellTable.concatenate(list(tables))
    barcodes, genes, names, counts = _read_matrix(Path(squares, MATRIX))
    centres = _read_centres(Path(squares, POSITIONS), barcodes)
    rings = cells.outlines if cells.cell_outlines is None else cells.cell_outlines
    owners = find_owners(ring_polygons(rings), centres)
    if (owners < 0).all():
        raise ValueError(
            f'{squares}: none of {len(owners)} squares lies in one of {len(cells)} '
            f'cells of {parquet}; find the cells on the image that Space Ranger was '
            'given as --image')
    numbers = np.arange(1, len(cells) + 1)
    obs = pd.DataFrame(dict(
        cell_id=numbers, squares=np.bincount(owners[owners >= 0], minlength=len(cells)),
    ), index=numbers.astype(str))
    obs['class'] = pd.Categorical(np.array(info.classes)[cells.labels])
    return AnnData(
        sum_by_owner(counts, owners, len(cells)), obs,
        var=pd.DataFrame(dict(gene_name=names), index=genes),
        obsm=dict(spatial=cells.centroids))


def export_counts(parquet: str | os.PathLike, squares: str | os.PathLike,
                  out: str | os.PathLike) -> 'AnnData':
    """Writes the table of `count_per_cell` (.h5ad) and returns it."""
    table = count_per_cell(parquet, squares)
    with complete_file(Path(out)) as part:
        table.write_h5ad(part)
    return table


def _read_matrix(path: Path) -> tuple[list, list, list, sparse.csr_matrix]:
    """Returns barcodes (M), ids and names of genes (G), counts (M, G)."""
    import h5py  # of anndata

    with h5py.File(path) as file:
        try:
            matrix = file['matrix']
            texts = [matrix[name].asstr()[:].tolist()
                     for name in ('barcodes', 'features/id', 'features/name')]
            # Of 10x: columns of genes, one for each square.
            counts = sparse.csr_matrix(
                tuple(matrix[name][:] for name in ('data', 'indices', 'indptr')),
                shape=tuple(matrix['shape'][:][::-1]))
        except KeyError as error:
            raise ValueError(f'{path}: {error}; expected the matrix of a Space Ranger '
                             'run') from error
    return *texts, counts


def _read_centres(path: Path, barcodes: list[str]) -> np.ndarray:
    """Returns the centres (M, 2) (x, y) px of the squares with these barcodes."""
    try:
        table = pq.read_table(path, columns=POSITION_COLUMNS)
    except pa.ArrowInvalid as error:
        raise ValueError(f'{path}: {error}; expected the positions of a Space Ranger '
                         'run') from error
    rows = pc.index_in(pa.array(barcodes), table['barcode'].combine_chunks())
    if rows.null_count:
        raise ValueError(f'{path}: {rows.null_count} of {len(barcodes)} squares of the '
                         'matrix are not there; give the folder of one run')
    columns = [table[name].to_numpy() for name in POSITION_COLUMNS[1:]]
    return np.stack(columns, axis=1)[rows.to_numpy()].astype(np.float64)
