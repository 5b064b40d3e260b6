# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import numpy as np
import pytest
from coloured_nuclei import MODEL, see_colours, write_pictures
from mmengine.structures import InstanceData
from tiny_models import build

from mmseg_cellvta.datasets import CellFolderDataset
from mmseg_cellvta.engine.cell_classifier_training import (
    TokenCache,
    extract_tokens,
    label_nuclei,
    token_key,
)
from mmseg_cellvta.models import ReclassifyingSegmentor


def test_detections_near_a_true_nucleus_get_its_class():
    true_map = np.zeros((40, 40), int)
    true_map[2:7, 2:7] = 9  # centre (4, 4)
    true_map[20:25, 30:35] = 4  # centre x 32, y 22
    classes = (true_map == 9) * 3 + (true_map == 4) * 1
    found = InstanceData(centroids=np.array([[15, 30], [33, 22], [4, 6]]))
    rows, labels = label_nuclei(found, true_map, classes, radius_px=3)
    assert dict(zip(rows.tolist(), labels.tolist(), strict=True)) == {1: 1, 2: 3}


@pytest.mark.parametrize(('true', 'found'), [(0, 2), (1, 0), (0, 0)])
def test_pictures_where_one_side_is_empty(true, found):
    true_map = np.zeros((8, 8), int)
    true_map[2:4, 2:4] = true
    rows, labels = label_nuclei(
        InstanceData(centroids=np.zeros((found, 2))), true_map, true_map, 1)
    assert len(rows) == len(labels) == 0


@pytest.fixture
def extraction(tmp_path, monkeypatch):
    """Model, pictures and an empty cache; the names of pictures that were seen."""
    monkeypatch.setattr(ReclassifyingSegmentor, 'encode_decode_tokens', see_colours)
    write_pictures(tmp_path, ['a_1', 'a_2'])
    model = build(MODEL).eval()
    seen = []
    test_step = model.test_step
    monkeypatch.setattr(model, 'test_step', lambda data: seen.append(
        data['data_samples'][0].sample_name) or test_step(data))
    pipeline = [dict(type=name) for name in (
        'LoadCellImage', 'LoadCellAnnotations', 'PackCellInputs')]
    dataset = CellFolderDataset(
        data_root=str(tmp_path), pipeline=pipeline, test_mode=True)
    return model, dataset, TokenCache(tmp_path / 'tokens'), seen


def test_labelled_tokens_of_every_picture_are_kept(extraction):
    model, dataset, cache, _ = extraction
    extract_tokens(model, dataset, cache)
    for index in range(2):
        tokens, labels = cache.load(dataset.get_data_info(index))
        assert sorted(labels) == [1, 1, 1, 2]
        # Channels of the drawn network: red, green, blue.
        np.testing.assert_array_equal(tokens[:, :3].argmax(axis=1), 3 - labels)


def test_a_picture_that_is_there_is_not_seen_again(extraction):
    model, dataset, cache, seen = extraction
    extract_tokens(model, dataset, cache)
    cache.path(dataset.get_data_info(1)).unlink()  # as after an interruption
    extract_tokens(model, dataset, cache)
    assert seen == ['a_1', 'a_2', 'a_2']


def test_the_key_follows_segmentor_and_pipeline_but_not_the_classifier(tmp_path):
    path = Path(tmp_path, 'a.pth')
    path.write_bytes(b'one')
    keys = [token_key(path, dict(type='A', cell_classifier=c), [])
            for c in (dict(a=1), dict(a=2))]
    assert keys[0] == keys[1] and len(keys[0]) == 16
    others = [token_key(path, dict(type='B'), []),
              token_key(path, dict(type='A'), [dict(type='Resize')])]
    path.write_bytes(b'two')
    others.append(token_key(path, dict(type='A'), []))
    assert len({keys[0], *others}) == 4
