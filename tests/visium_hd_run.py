# Copyright (c) CellVTA-MMSeg contributors.
"""A run of Space Ranger with squares of 2 µm and known counts."""
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

GENES = ('GeneA', 'GeneB', 'GeneC')
SQUARE_UM = 2.0


def write_run(folder, mpp, shape, counts, shuffle=True):
    """Writes `square_002um` of an image and returns the folder.

    Args:
        folder: Where it is made.
        mpp: µm/px of the image.
        shape: Rows and columns of squares; the first one's corner is that of the image.
        counts: (rows * columns, genes) int, row by row.
        shuffle: The positions come in another order than the matrix.
    """
    import h5py

    folder = folder / 'binned_outputs' / 'square_002um'
    (folder / 'spatial').mkdir(parents=True)
    rows, cols = (axis.ravel() for axis in np.mgrid[:shape[0], :shape[1]])
    barcodes = [f's_002um_{row:05d}_{col:05d}-1'
                for row, col in zip(rows, cols, strict=True)]
    order = np.random.default_rng(0).permutation(len(rows)) if shuffle else slice(None)
    pq.write_table(pa.table(dict(
        barcode=np.array(barcodes)[order], in_tissue=np.ones(len(rows), int),
        array_row=rows[order], array_col=cols[order],
        pxl_row_in_fullres=((rows + 0.5) * SQUARE_UM / mpp)[order],
        pxl_col_in_fullres=((cols + 0.5) * SQUARE_UM / mpp)[order],
    )), folder / 'spatial' / 'tissue_positions.parquet')
    matrix = sparse.csc_matrix(counts.T)
    with h5py.File(folder / 'filtered_feature_bc_matrix.h5', 'w') as file:
        group = file.create_group('matrix')
        group['barcodes'] = np.array(barcodes, 'S')
        group['shape'] = np.array(matrix.shape, np.int32)
        for name in ('data', 'indices', 'indptr'):
            group[name] = getattr(matrix, name)
        names = np.array(GENES[:matrix.shape[0]], 'S')
        group['features/id'] = np.char.add(b'ENSG', names)
        group['features/name'] = names
    return folder
