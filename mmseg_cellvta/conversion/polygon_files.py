# Copyright (c) CellVTA-MMSeg contributors.
"""Outlines of nuclei from GeoJSON (QuPath) and XML (ImageScope)."""
import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import shapely

from .class_list import find_class
from .polygons import Outline, make_area

# In GeoJSON pixel 0 reaches from 0 to 1, in ImageScope its centre is at 0.
GEOJSON_CENTRE = 0.5
DRAWN_AROUND = ('0', '1')  # ImageScope's types of regions: free form and rectangle


def read_geojson(path: Path, classes: Sequence[str]) -> list[Outline]:
    """Read a FeatureCollection, or a list of features, as QuPath writes it.

    A QuPath cell counts with its nucleus, not with its own outline.

    Args:
        path (Path): The file.
        classes (Sequence[str]): Class names, background first.

    Raises:
        ValueError: If the file is damaged, or a feature is no polygon or of no class.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    key = ''
    if isinstance(content, dict):
        content, key = content.get('features'), 'features'
    if not isinstance(content, list):
        raise ValueError(f'{path}: expected a FeatureCollection or a list of features')
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
        parts = [[np.array(ring, np.float64) - GEOJSON_CENTRE for ring in part]
                 for part in parts]
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: coordinates are no points ({error})') from error
    area = shapely.union_all([make_area(part, where) for part in parts])
    said = (feature.get('properties') or {}).get('classification') or {}
    if not isinstance(said, dict):
        said = dict(name=said)
    name = said.get('name') or ': '.join(said.get('names', []))
    return Outline(area, find_class([name], classes, where), where)


def read_imagescope(path: Path, classes: Sequence[str]) -> list[Outline]:
    """Read the regions of an ImageScope file; negative ones erase what is below.

    The class is the name of the annotation or of one of its attributes.

    Args:
        path (Path): The file.
        classes (Sequence[str]): Class names, background first.

    Raises:
        ValueError: If the file is damaged, or a region is not drawn around something
            or of no class.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
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
    if region.get('Type', '0') not in DRAWN_AROUND:
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
