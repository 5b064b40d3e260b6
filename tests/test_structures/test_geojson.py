# Copyright (c) CellVTA-MMSeg contributors.
import json

import numpy as np
import pytest
import shapely
from mmengine.structures import InstanceData

from mmseg_cellvta.exports.writers import to_geojson_features, write_geojson

CLASSES = ('background', 'neutrophil', 'epithelial')
PALETTE = [[0, 0, 0], [255, 0, 0], [34, 221, 77]]


def make_instances(contours, labels):
    probs = np.linspace(0, 1, 3 * len(labels), dtype=np.float32).reshape(-1, 3)
    return InstanceData(
        contours=[np.array(c, dtype=np.int32) for c in contours],
        labels=np.array(labels), class_probs=probs, scores=probs[:, 1])


SQUARE = [[2, 3], [2, 6], [6, 6], [6, 3]]  # 5 x 4 px


def test_feature_is_a_qupath_detection():
    feature, _ = to_geojson_features(
        make_instances([SQUARE, [[20, 20]]], [2, 1]), CLASSES, PALETTE)
    assert feature['type'] == 'Feature'
    properties = feature['properties']
    assert properties['objectType'] == 'detection'
    assert properties['classification'] == dict(name='epithelial', color=[34, 221, 77])
    assert properties['measurements'] == dict(
        area_px=20.0, score=0.2, prob_background=0.0, prob_neutrophil=0.2,
        prob_epithelial=0.4)
    ring, = feature['geometry']['coordinates']
    assert feature['geometry']['type'] == 'Polygon' and ring[0] == ring[-1]


def test_file_is_a_feature_collection_of_valid_polygons(tmp_path):
    instances = make_instances([SQUARE, [[20, 20]], [[9, 9], [12, 12]]], [2, 1, 1])
    path = tmp_path / 'consep_1-0000.geojson'
    write_geojson(path, instances, CLASSES, PALETTE)
    content = json.loads(path.read_text())
    assert content['type'] == 'FeatureCollection' and len(content['features']) == 3
    for feature in content['features']:
        assert shapely.geometry.shape(feature['geometry']).is_valid
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_no_nuclei_make_an_empty_collection(tmp_path):
    empty = InstanceData(
        contours=[], labels=np.zeros(0, int), scores=np.zeros(0),
        class_probs=np.zeros((0, 3)))
    write_geojson(tmp_path / 'a.geojson', empty, CLASSES, PALETTE)
    content = json.loads((tmp_path / 'a.geojson').read_text())
    assert content == dict(type='FeatureCollection', features=[])


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.geojson'
    path.write_text('old')
    monkeypatch.setattr(json, 'dumps', lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_geojson(path, make_instances([SQUARE], [1]), CLASSES, PALETTE)
    assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a.geojson']


def test_lists_that_do_not_belong_together_are_named():
    with pytest.raises(ValueError, match='2 classes and 3 palette colours .* 3 class'):
        to_geojson_features(make_instances([SQUARE], [1]), CLASSES[:2], PALETTE)
