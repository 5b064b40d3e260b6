# Copyright (c) CellVTA-MMSeg contributors.
"""From outlines of nuclei to maps. Plain numpy, scikit-image and shapely."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from skimage.draw import polygon as pixels_inside


@dataclass(frozen=True)
class Outline:
    """A nucleus of a polygon file.

    Attributes:
        area (shapely.Geometry): Valid (multi)polygon, px, x right and y down; the
            centres of the pixels have whole coordinates.
        class_id (int): Class; 0 erases what is below.
        where (str): What an error calls its place in the file.
    """
    area: shapely.Geometry
    class_id: int
    where: str


def make_area(rings: Sequence[np.ndarray], where: str) -> shapely.Geometry:
    """Make a valid area of rings; one that crosses itself keeps all it runs around.

    Args:
        rings (Sequence[np.ndarray]): Points (K, 2), x and y px, of the outer ring and
            of the holes. An outer ring of less than three points has no area.
        where (str): What an error calls this outline.

    Raises:
        ValueError: If a coordinate is no number.
    """
    for points in rings:
        if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points).all():
            raise ValueError(f'{where}: expected points of two numbers, x and y px')
    rings = [points[:, :2] for points in rings if len(points) >= 3]
    if not rings:
        return shapely.Polygon()
    area = shapely.Polygon(rings[0], rings[1:])
    if not area.is_valid:
        area = shapely.make_valid(area, method='structure', keep_collapsed=False)
    return area


def rasterize(outlines: Sequence[Outline], shape: tuple[int, int],
              name: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw outlines; a later one covers earlier ones.

    Args:
        outlines (Sequence[Outline]): Nuclei.
        shape (tuple[int, int]): (height, width) of the picture, px.
        name (str): What an error calls the file.

    Returns:
        tuple[np.ndarray, np.ndarray]: Instance map, int32 (H, W), with the number of
        each outline, from 1, and class map, uint8 (H, W). An outline that is covered,
        or runs around no pixel's centre, is not in it.

    Raises:
        ValueError: If an outline is wholly outside the picture.
    """
    inst_map = np.zeros(shape, np.int32)
    class_of = np.zeros(len(outlines) + 1, np.uint8)
    for number, outline in enumerate(outlines, 1):
        class_of[number] = outline.class_id
        if outline.area.is_empty:
            continue
        box = _box(outline, shape, name)
        mask = _mask(outline.area, box)
        inst_map[box][mask] = number if outline.class_id else 0
    return inst_map, class_of[inst_map]


def _box(outline: Outline, shape: tuple[int, int], name: str) -> tuple[slice, slice]:
    """Part of the picture that the outline can reach."""
    left, top, right, bottom = outline.area.bounds
    height, width = shape
    if right < -0.5 or bottom < -0.5 or left > width - 0.5 or top > height - 0.5:
        raise ValueError(
            f'{name}: {outline.where} is outside the picture: x {left:g} to {right:g}, '
            f'y {top:g} to {bottom:g}, the picture has {width} x {height} px; expected '
            'px from its top left corner')
    rows, cols = ((max(int(np.floor(low)), 0), min(int(np.ceil(high)) + 1, length))
                  for low, high, length in (
                      (top, bottom, height), (left, right, width)))
    return slice(*rows), slice(*cols)


def _mask(area: shapely.Geometry, box: tuple[slice, slice]) -> np.ndarray:
    """Which pixels of the box have their centre in the area."""
    corner = np.array([box[1].start, box[0].start])
    mask = np.zeros([side.stop - side.start for side in box], bool)
    for part in shapely.get_parts(area):
        inside = np.zeros_like(mask)
        for index, ring in enumerate((part.exterior, *part.interiors)):
            x, y = (np.asarray(ring.coords)[:, :2] - corner).T
            inside[pixels_inside(y, x, mask.shape)] = index == 0
        mask |= inside
    return mask
