# Copyright (c) CellVTA-MMSeg contributors.
"""From a map of nuclei to borders of cells."""
import cv2
import numpy as np
from scipy import ndimage

from mmseg_cellvta.post_processing.expansion import (
    expand_nuclei,
    trace_cells,
    trace_nuclei,
)


def described(seeds):
    """Contours, boxes and areas, as `describe_instances` gives them.

    Contours are of the largest part, and have only the bends.
    """
    masks = ((seeds == inst_id).view(np.uint8) for inst_id in range(1, 1 + seeds.max()))
    found = (cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
             for mask in masks)
    boxes = [(cols.start, rows.start, cols.stop, rows.stop)
             for rows, cols in ndimage.find_objects(np.maximum(seeds, 0))]
    return ([max(parts, key=cv2.contourArea)[:, 0] for parts in found],
            np.array(boxes).reshape(-1, 4), np.bincount(seeds[seeds > 0])[1:])


def grow(seeds, distance):
    """Returns borders of nuclei, of the cells up to `distance` px around them, a map.

    Args:
        seeds: (H, W) int32, ids 1..N without gaps, and those of others below 0.
    """
    seeds = seeds.copy()
    contours, bboxes, areas = described(seeds)
    nuclei = trace_nuclei(seeds, contours, bboxes, areas)
    cell_map = expand_nuclei(seeds, distance)
    cells = trace_cells(seeds, cell_map, nuclei, bboxes, distance)
    return nuclei, cells, cell_map
