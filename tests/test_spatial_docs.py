# Copyright (c) CellVTA-MMSeg contributors.
"""The way by sopa in docs/spatial_transcriptomics.md gives the known counts."""
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[1] / 'docs' / 'spatial_transcriptomics.md'
SHAPE, SIDE = (40, 50), 8  # squares, px of a square
CORNERS = [(16, 24), (160, 200), (320, 80)]  # px of cells of 3 x 3 squares


def snippet():
    """The block that says what it begins with."""
    blocks = DOCS.read_text().split('```python\n')[1:]
    block, = (block for block in blocks if block.startswith('# `sdata`'))
    return block.split('```')[0]


def squares_of_run(counts):
    """What `visium_hd` makes of a run: squares in px, and their table."""
    import geopandas
    import pandas as pd
    import shapely
    from anndata import AnnData
    from scipy import sparse
    from spatialdata import SpatialData
    from spatialdata.models import ShapesModel, TableModel
    from spatialdata.transformations import Identity

    rows, cols = (axis.ravel() for axis in np.mgrid[:SHAPE[0], :SHAPE[1]])
    frame = geopandas.GeoDataFrame(geometry=shapely.box(
        cols * SIDE, rows * SIDE, (cols + 1) * SIDE, (rows + 1) * SIDE))
    ids = np.arange(len(frame))
    table = AnnData(sparse.csr_matrix(counts), pd.DataFrame(dict(
        location_id=ids, region=pd.Categorical(['run_square_002um'] * len(ids)),
    ), index=ids.astype(str)))
    data = SpatialData()
    data['run_square_002um'] = ShapesModel.parse(
        frame, transformations={'run': Identity()})
    data['square_002um'] = TableModel.parse(
        table, region='run_square_002um', region_key='region',
        instance_key='location_id')
    return data


def test_sopa_counts_what_is_in_the_cells():
    pytest.importorskip('sopa', reason='the extra "spatial" is missing')
    import geopandas
    import shapely

    counts = np.random.default_rng(0).poisson(0.7, (*SHAPE, 3))
    found = geopandas.GeoDataFrame(
        {'cell_id': [1, 2, 3], 'class': ['a', 'b', 'a']},
        geometry=[shapely.box(x + 8, y + 8, x + 16, y + 16) for x, y in CORNERS])
    found['cell_geometry'] = geopandas.GeoSeries(
        [shapely.box(x, y, x + 24, y + 24) for x, y in CORNERS])
    names = dict(sdata=squares_of_run(counts.reshape(-1, 3)), found=found)
    exec(compile(snippet(), str(DOCS), 'exec'), names)
    expected = [counts[y // 8:y // 8 + 3, x // 8:x // 8 + 3].sum(axis=(0, 1))
                for x, y in CORNERS]
    table = names['table']
    np.testing.assert_array_equal(table.X.toarray(), expected)
