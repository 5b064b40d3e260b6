# Copyright (c) CellVTA-MMSeg contributors.
"""From a map of nuclei to borders of cells."""
from mmseg_cellvta.post_processing.expansion import (
    expand_nuclei,
    trace_cells,
    trace_nuclei,
)


def grow(seeds, distance):
    """Returns the borders of the nuclei and of their cells, `distance` px around them.

    Args:
        seeds: (H, W) int32; of nuclei in parts the largest stays.
    """
    nuclei = trace_nuclei(seeds)
    cell_map = expand_nuclei(seeds, distance)
    cells = trace_cells(seeds, cell_map, nuclei)
    return nuclei, cells
