# Copyright (c) CellVTA-MMSeg contributors.
"""What Space Ranger 4 and Xenium Ranger demand of the files that we write for them.

Space Ranger by the text of its validator and readers, Xenium Ranger by its pages. Each
function returns sentences, none where a file would be taken.
"""
import json

import numpy as np
import shapely
import tifffile
from PIL import Image

Image.MAX_IMAGE_PIXELS = None
LEAST_PX2 = 16  # of a part of a MultiPolygon that counts


def spaceranger_geojson(path):
    problems = [] if path.suffix == '.geojson' else ['the name ends otherwise']
    collection = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(collection, dict):
        return ['a list']
    if extra := set(collection) - {'type', 'features', 'bbox', 'foreign_members'}:
        problems.append(f'extra keys {extra}')
    if collection.get('type') != 'FeatureCollection':
        problems.append('no FeatureCollection')
    polygons = []
    for feature in collection.get('features', []):
        problems += _spaceranger_feature(feature)
        if not problems:
            polygons.append(shapely.geometry.shape(feature['geometry']))
    if polygons and not problems and _overlap(polygons):
        problems.append('polygons overlap')
    return problems


def _spaceranger_feature(feature):
    problems = []
    if feature.get('type') != 'Feature':
        problems.append('no Feature')
    if 'id' in feature and type(feature['id']) not in (str, int, float):
        problems.append('id is neither text nor a number')
    properties = feature.get('properties', {})
    if not isinstance(properties, dict):
        problems.append('properties are no object')
    elif 'geometry' in properties:
        problems.append('a property is called geometry')
    elif not isinstance(properties.get('name', ''), str):
        problems.append('name is no text')
    return problems + _spaceranger_geometry(feature.get('geometry'))


def _spaceranger_geometry(geometry):
    kind = geometry.get('type') if isinstance(geometry, dict) else None
    if kind not in ('Polygon', 'MultiPolygon'):
        return ['no polygon']
    parts = geometry['coordinates']
    if kind == 'Polygon':
        parts = [parts]
    if not parts or not all(parts):
        return ['no ring']
    if not _are_numbers(parts):
        return ['coordinates are no numbers']
    areas = [shapely.Polygon(part[0], part[1:]).area for part in parts]
    if kind == 'MultiPolygon' and sum(area > LEAST_PX2 for area in areas) != 1:
        return ['not one part']
    return []


def _are_numbers(values):
    if isinstance(values, list):
        return all(map(_are_numbers, values))
    return type(values) in (int, float) and np.isfinite(values)


def _overlap(polygons):
    first, second = shapely.STRtree(polygons).query(polygons, predicate='intersects')
    polygons = np.array(polygons, object)
    apart = first < second
    return shapely.area(shapely.intersection(
        polygons[first[apart]], polygons[second[apart]])).any()


def spaceranger_mask(path, shape):
    """Args: `shape`, (height, width) px of the microscope image."""
    problems = []
    if path.suffix not in ('.tif', '.tiff', '.btf'):
        problems.append('the name ends otherwise')
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        if len(tiff.pages) != 1:
            problems.append(f'{len(tiff.pages)} pages')
        if page.samplesperpixel != 1:
            problems.append(f'{page.samplesperpixel} channels')
        if page.dtype not in (np.uint16, np.uint32):
            problems.append(f'{page.dtype}')
        if page.shape != tuple(shape):
            problems.append(f'{page.shape} px')
        labels = np.unique(page.asarray())
    if not problems:
        with Image.open(path) as image:
            if image.mode not in ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N'):
                problems.append(f'Pillow mode {image.mode}')
    if len(labels) - (labels[0] == 0) != labels[-1]:
        problems.append('labels with gaps')
    return problems


def xenium_geojson(path, size=None):
    """Args: `size`, (width, height) of the plane in its units, where it is known."""
    collection = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(collection, dict) or (
            collection.get('type') != 'FeatureCollection'):
        return ['no FeatureCollection']
    problems, have_nuclei = [], set()
    for feature in collection['features']:
        if feature.get('properties', {}).get('objectType') != 'cell':
            problems.append('no cell, which is ignored')
        have_nuclei.add('nucleusGeometry' in feature)
        problems += _xenium_geometry(feature.get('geometry'), size)
        if 'nucleusGeometry' in feature:
            problems += _xenium_geometry(feature['nucleusGeometry'], size)
    if len(have_nuclei) > 1:
        problems.append('cells without nuclei beside cells with them')
    return problems


def _xenium_geometry(geometry, size):
    if not isinstance(geometry, dict) or geometry.get('type') != 'Polygon':
        return ['no polygon']
    ring, = geometry['coordinates']
    if not _are_numbers(ring):
        return ['coordinates are no numbers']
    if ring[0] != ring[-1]:
        return ['a ring is open']
    if len({tuple(point) for point in ring}) <= 3:
        return ['a ring of three points']
    points = np.array(ring)
    if size is not None and ((points < 0) | (points > size)).any():
        return ['outside the plane']
    return []


def xenium_transform(path):
    """Rules of the file of an image alignment."""
    lines = [line.split(',') for line in path.read_text().split()]
    if [len(line) for line in lines] != [3, 3, 3]:
        return ['not three rows of three']
    try:
        matrix = np.array(lines, float)
    except ValueError:
        return ['no numbers']
    return [] if matrix[2].tolist() == [0, 0, 1] else ['the last row is not 0,0,1']
