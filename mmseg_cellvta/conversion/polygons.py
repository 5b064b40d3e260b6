# Copyright (c) CellVTA-MMSeg contributors.
"""Outlines of nuclei, drawn as maps: GeoJSON (QuPath), XML (ImageScope), HoVer-Net."""
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import shapely
from skimage.draw import polygon as pixels_inside

from ..structures.cell_table import nucleus_outlines
from ..utils.files import read_json
from .class_list import find_class

# In GeoJSON pixel 0 reaches from 0 to 1, in ImageScope its centre is at 0.
GEOJSON_PIXEL_CENTRE = 0.5
AREA_TYPES = ('0', '1')  # ImageScope's types of regions: free form and rectangle


@dataclass(frozen=True)
class Outline:
    """A nucleus of a polygon file.

    Attributes:
        area: Valid (multi)polygon of (x, y) px; pixel centres have whole coordinates.
        class_id: Class; 0 erases what is below.
        where: Place in the file, for errors.
    """
    area: shapely.Geometry
    class_id: int
    where: str


def read_geojson(path: Path, classes: Sequence[str]) -> list[Outline]:
    """Reads a FeatureCollection, or a list of features, as QuPath writes it.

    The outline of a QuPath cell is that of its nucleus. A JSON file of HoVer-Net is
    read too, see `read_hovernet`.

    Args:
        path: The file.
        classes: Class names, background first.

    Raises:
        ValueError: When the file is damaged, or a feature is no polygon or of no
            class.
    """
    content, key = read_json(path), ''
    if isinstance(content, dict):
        if isinstance(content.get('nuc'), dict):
            return read_hovernet(content['nuc'], classes, path)
        found = ', '.join(list(content)[:5])
        content, key = content.get('features'), 'features'
    else:
        found = type(content).__name__
    if not isinstance(content, list):
        raise ValueError(f'{path}: expected a FeatureCollection or a list of features, '
                         f'found {found or "nothing"}')
    return [_read_feature(feature, classes, f'{path}: {key}[{index}]')
            for index, feature in enumerate(content)]


def _read_feature(feature: dict, classes: Sequence[str], where: str) -> Outline:
    try:
        geometry = feature.get('nucleusGeometry') or feature['geometry']
        kind, coordinates = geometry['type'], geometry['coordinates']
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f'{where}: no feature with a geometry') from error
    if kind not in ('Polygon', 'MultiPolygon'):
        raise ValueError(f'{where}: a {kind}; expected Polygon or MultiPolygon')
    parts = [coordinates] if kind == 'Polygon' else coordinates
    try:
        parts = [[np.array(ring, np.float64) - GEOJSON_PIXEL_CENTRE for ring in part]
                 for part in parts]
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: coordinates are no points ({error})') from error
    area = shapely.union_all([make_area(part, where) for part in parts])
    try:
        label = (feature.get('properties') or {}).get('classification') or {}
        if not isinstance(label, dict):
            label = dict(name=label)
        name = label.get('name') or ': '.join(label.get('names', []))
    except (AttributeError, TypeError) as error:
        raise ValueError(f'{where}: its properties name no class ({error})') from error
    if not isinstance(name, str):
        raise ValueError(f'{where}: class {name!r} is no text')
    return Outline(area, find_class([name], classes, where), where)


def read_hovernet(nuclei: dict[str, dict], classes: Sequence[str],
                  path: Path) -> list[Outline]:
    """Reads the nuclei of HoVer-Net's inference: contours through border pixels.

    Args:
        nuclei: What the file has under `nuc`: a `contour` of (x, y) px and a `type`, a
            class id, of each nucleus.
        classes: Class names, background first.
        path: The file, for errors.

    Raises:
        ValueError: When a nucleus has no contour, or no class of the list.
    """
    contours, outlines = [], []
    for number, nucleus in nuclei.items():
        try:
            contour = np.array(nucleus['contour'], np.float64).reshape(-1, 2)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{path}: nuc[{number}]: no contour of points x, y'
                             ) from error
        if not len(contour) or not np.isfinite(contour).all():
            raise ValueError(f'{path}: nuc[{number}]: no contour of points x, y')
        contours.append(contour)
    rings = nucleus_outlines(contours, offset=(-GEOJSON_PIXEL_CENTRE, ) * 2)
    for (number, nucleus), ring in zip(nuclei.items(), rings, strict=True):
        where, class_id = f'{path}: nuc[{number}]', nucleus.get('type')
        if len(classes) == 2:
            class_id = 1
        elif class_id not in range(1, len(classes)):
            raise ValueError(f'{where}: type {class_id!r}; expected a class id, 1 to '
                             f'{len(classes) - 1}')
        outlines.append(Outline(make_area([ring], where), class_id, where))
    return outlines


def read_imagescope(path: Path, classes: Sequence[str]) -> list[Outline]:
    """Reads the regions of an ImageScope file; negative ones erase what is below.

    The class is the name of the annotation or of one of its attributes.

    Args:
        path: The file.
        classes: Class names, background first.

    Raises:
        ValueError: When the file is damaged, or a region has no area or no class.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # or encoding
        raise ValueError(f'{path}: not XML ({error})') from error
    if root.tag != 'Annotations':
        raise ValueError(f'{path}: begins with {root.tag}; expected Annotations, as '
                         'ImageScope writes it')
    outlines = []
    for number, annotation in enumerate(root.iter('Annotation')):
        regions = annotation.findall('Regions/Region')
        where = f'{path}: Annotation[{number}]'
        class_id = find_class(_names(annotation), classes, where) if regions else 0
        outlines += [_read_region(region, class_id, f'{where} Region[{index}]')
                     for index, region in enumerate(regions)]
    return outlines


def _names(annotation: ElementTree.Element) -> list[str | None]:
    names = [annotation.get('Name')]
    for attribute in annotation.findall('Attributes/Attribute'):
        names += [attribute.get('Name'), attribute.get('Value')]
    return names


def _read_region(region: ElementTree.Element, class_id: int, where: str) -> Outline:
    if region.get('Type', '0') not in AREA_TYPES:
        raise ValueError(f'{where}: Type {region.get("Type")}, an ellipse, arrow or '
                         'ruler; expected 0, a free form, or 1, a rectangle')
    try:
        points = np.array([[float(vertex.get(axis)) for axis in ('X', 'Y')]
                           for vertex in region.findall('Vertices/Vertex')])
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: a vertex without numbers X and Y') from error
    area = make_area([points.reshape(-1, 2)], where)
    erases = region.get('NegativeROA') == '1'
    return Outline(area, 0 if erases else class_id, where)


def make_area(rings: Sequence[np.ndarray], where: str) -> shapely.Geometry:
    """Makes a valid area; a ring that crosses itself keeps all that it encloses.

    Args:
        rings: Points (K, 2), (x, y) px, of the outer ring and of the holes. An outer
            ring of less than three points has no area.
        where: Place in the file, for errors.

    Raises:
        ValueError: When a coordinate is no number.
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


def check_regions(outlines: Sequence[Outline]) -> None:
    """Refuses outlines of tissue or of the image: they enclose several nuclei.

    Raises:
        ValueError: When an outline encloses two others of less than half its area.
    """
    nuclei = [outline for outline in outlines if outline.class_id]
    areas = np.array([outline.area for outline in nuclei], object)
    outer, inner = shapely.STRtree(areas).query(areas, predicate='contains')
    sizes = shapely.area(areas)
    smaller = sizes[inner] < 0.5 * sizes[outer]
    enclosed = np.bincount(outer[smaller], minlength=len(nuclei))
    for index in np.flatnonzero(enclosed > 1)[:1]:
        raise ValueError(
            f'{nuclei[index].where} encloses {enclosed[index]} other outlines; this is '
            'a frame or a region, not a nucleus: delete it')


def rasterize(outlines: Sequence[Outline], shape: tuple[int, int],
              name: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws outlines; a later one covers earlier ones.

    Args:
        outlines: The nuclei.
        shape: (height, width) of the image, px.
        name: Name of the file, for errors.

    Returns:
        Instance map, int32 (H, W), with the number of each outline, from 1, and class
        map, uint8 (H, W). An outline that is covered, or encloses no pixel's centre,
        is in neither.

    Raises:
        ValueError: When an outline is wholly outside the image.
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
    """Returns the rows and columns of the image that the outline can reach."""
    left, top, right, bottom = outline.area.bounds
    height, width = shape
    if right < -0.5 or bottom < -0.5 or left > width - 0.5 or top > height - 0.5:
        raise ValueError(
            f'{name}: {outline.where} is outside the image: x {left:g} to {right:g}, '
            f'y {top:g} to {bottom:g}, the image has {width} x {height} px; expected '
            'px from its top left corner')
    rows, cols = ((max(int(np.floor(low)), 0), min(int(np.ceil(high)) + 1, length))
                  for low, high, length in (
                      (top, bottom, height), (left, right, width)))
    return slice(*rows), slice(*cols)


def _mask(area: shapely.Geometry, box: tuple[slice, slice]) -> np.ndarray:
    """Returns a mask of the pixels of the box whose centre is in the area."""
    corner = np.array([box[1].start, box[0].start])
    mask = np.zeros([side.stop - side.start for side in box], bool)
    for part in shapely.get_parts(area):
        inside = np.zeros_like(mask)
        for index, ring in enumerate((part.exterior, *part.interiors)):
            x, y = (np.asarray(ring.coords)[:, :2] - corner).T
            inside[pixels_inside(y, x, mask.shape)] = index == 0
        mask |= inside
    return mask
