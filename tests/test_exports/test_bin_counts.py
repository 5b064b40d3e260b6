# Copyright (c) CellVTA-MMSeg contributors.
"""Counts per cell on a grid of squares of 2 µm whose counts are known."""
import numpy as np
import pytest
import shapely
from cell_tables import INFO, squares
from scipy import sparse
from visium_hd_run import write_run

from mmseg_cellvta.exports import GeoParquetWriter
from mmseg_cellvta.exports.bin_counts import (
    count_per_cell,
    export_counts,
    find_owners,
    sum_by_owner,
)

SHAPE = 80, 100  # squares of 8 px
SIDE = 8  # px per square at INFO.mpp


def grid_centres():
    rows, cols = np.mgrid[:SHAPE[0], :SHAPE[1]]
    return (np.stack([cols.ravel(), rows.ravel()], axis=1) + 0.5) * SIDE


def test_a_square_belongs_to_the_cell_around_its_centre():
    polygons = np.array([shapely.box(0, 0, 16, 8), shapely.box(20, 0, 36, 8)])
    owners = find_owners(polygons, grid_centres()).reshape(SHAPE)
    assert owners[0, :6].tolist() == [0, 0, -1, 1, -1, -1]  # one centre on the border
    assert (owners[1:] == -1).all()


def test_of_two_cells_around_a_centre_the_later_one_counts():
    polygons = np.array([shapely.box(0, 0, 20, 8), shapely.box(8, 0, 28, 8)])
    assert find_owners(polygons, grid_centres())[:4].tolist() == [0, 1, 1, -1]


def test_many_squares_are_looked_up_in_parts(monkeypatch):
    polygons = np.array([shapely.box(16, 16, 200, 160)])
    whole = find_owners(polygons, grid_centres())
    monkeypatch.setattr('mmseg_cellvta.exports.bin_counts.SQUARES_AT_ONCE', 999)
    np.testing.assert_array_equal(find_owners(polygons, grid_centres()), whole)


def test_rows_of_a_cell_are_added_up():
    counts = sparse.csr_matrix(np.arange(12).reshape(4, 3))
    sums = sum_by_owner(counts, np.array([1, -1, 1, 0]), num_cells=3)
    assert sums.toarray().tolist() == [[9, 10, 11], [6, 8, 10], [0, 0, 0]]


CORNERS = [(16, 24), (160, 320), (704, 504), (400, 80)]  # px of the nuclei


def write_cells(folder, around):
    """Nuclei of 3 x 3 squares, and cells of 5 x 5 squares around them if asked."""
    table = squares(CORNERS, side=3.0 * SIDE)
    if around:
        around = squares(np.array(CORNERS) - SIDE, side=5.0 * SIDE)
        table.cell_outlines = around.outlines
    with GeoParquetWriter(folder / 'slide.parquet', INFO) as writer:
        writer.write(table)
    return folder / 'slide.parquet'


def known_counts(reach):
    """Counts of 3 genes per square, and their sums in squares around each nucleus."""
    counts = np.random.default_rng(0).poisson(0.7, (*SHAPE, 3))
    sums = [counts[y // SIDE - reach:y // SIDE + 3 + reach,
                   x // SIDE - reach:x // SIDE + 3 + reach].sum(axis=(0, 1))
            for x, y in CORNERS]
    return counts.reshape(-1, 3), np.array(sums)


@pytest.mark.parametrize('around', [False, True])
def test_counts_per_cell_are_exact(tmp_path, around):
    pytest.importorskip('anndata', reason='the extra "export" is missing')
    counts, expected = known_counts(reach=int(around))
    run = write_run(tmp_path, INFO.mpp, SHAPE, counts)
    table = count_per_cell(write_cells(tmp_path, around), run)
    np.testing.assert_array_equal(table.X.toarray(), expected)
    assert table.obs['squares'].tolist() == [25 if around else 9] * 4
    assert table.obs['cell_id'].tolist() == [1, 2, 3, 4]
    assert table.obs['class'].tolist() == ['immune', 'tumour'] * 2
    assert table.var_names.tolist() == ['ENSGGeneA', 'ENSGGeneB', 'ENSGGeneC']
    assert table.obsm['spatial'][0].tolist() == [28, 36]


def test_the_table_on_disk_is_the_same(tmp_path):
    anndata = pytest.importorskip('anndata', reason='the extra "export" is missing')
    counts, expected = known_counts(reach=0)
    run = write_run(tmp_path, INFO.mpp, SHAPE, counts)
    export_counts(write_cells(tmp_path, False), run, tmp_path / 'counts.h5ad')
    table = anndata.read_h5ad(tmp_path / 'counts.h5ad')
    np.testing.assert_array_equal(table.X.toarray(), expected)


def test_what_does_not_fit_is_named(tmp_path):
    pytest.importorskip('anndata', reason='the extra "export" is missing')
    counts, _ = known_counts(reach=0)
    cells = write_cells(tmp_path, False)
    run = write_run(tmp_path, INFO.mpp / 1000, SHAPE, counts)
    with pytest.raises(ValueError, match='none of 8000 squares .* as --image'):
        count_per_cell(cells, run)
    other = write_run(tmp_path / 'other', INFO.mpp, (4, 4), counts[:16])
    positions = 'spatial/tissue_positions.parquet'
    (run / positions).write_bytes((other / positions).read_bytes())
    with pytest.raises(ValueError, match='7984 of 8000 squares .* are not there'):
        count_per_cell(cells, run)
    (run / positions).write_text('no table')
    with pytest.raises(ValueError, match='expected the positions of a Space Ranger'):
        count_per_cell(cells, run)
    with pytest.raises(ValueError, match='no file that tools/infer.py wrote'):
        count_per_cell(run / positions, run)
