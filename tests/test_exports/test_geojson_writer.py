# Copyright (c) CellVTA-MMSeg contributors.
import gzip
import json
import uuid

import pytest
from cell_tables import BANDS, INFO

from mmseg_cellvta.exports import GeoJsonWriter


def check_rfc7946(collection):
    """Structure of a FeatureCollection of polygons (RFC 7946, sections 3 and 3.1.6)."""
    assert collection['type'] == 'FeatureCollection'
    for feature in collection['features']:
        assert feature['type'] == 'Feature'
        assert isinstance(feature['properties'], dict)
        assert isinstance(feature['id'], (str, int, float))
        geometry = feature['geometry']
        assert geometry['type'] == 'Polygon'
        for ring in geometry['coordinates']:
            assert len(ring) >= 4 and ring[0] == ring[-1]
            assert all(len(position) == 2 for position in ring)
            assert all(isinstance(x, (int, float)) for xy in ring for x in xy)


def write(path):
    with GeoJsonWriter(path, INFO) as writer:
        for band in BANDS:
            writer.write(band)
    opened = gzip.open if path.suffix == '.gz' else open
    with opened(path, 'rt', encoding='utf-8') as file:
        return json.load(file)


@pytest.mark.parametrize('name', ['cells.geojson', 'cells.geojson.gz'])
def test_every_cell_is_a_detection_that_qupath_takes(tmp_path, name):
    collection = write(tmp_path / name)
    check_rfc7946(collection)
    first, second, third = collection['features']
    assert first['geometry']['coordinates'] == [
        [[10, 20], [20, 20], [20, 30], [10, 30], [10, 20]]]
    assert second['geometry']['coordinates'][0][0] == [100, 20.5]
    assert third['properties'] == dict(
        objectType='detection',
        classification=dict(name='immune', color=[20, 30, 220]),
        measurements=dict(
            score=0.75, prob_background=0, prob_immune=0.75, prob_tumour=0.25,
            area_um2=6.25))


def test_ids_are_uuids_that_differ_and_stay(tmp_path):
    ids = [feature['id'] for feature in write(tmp_path / 'a.geojson')['features']]
    again = [feature['id'] for feature in write(tmp_path / 'b.geojson')['features']]
    assert ids == again and len({uuid.UUID(text) for text in ids}) == 3
