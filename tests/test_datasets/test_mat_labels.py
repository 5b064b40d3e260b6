# Copyright (c) CellVTA-MMSeg contributors.
import re

import numpy as np
import pytest
from scipy.io import savemat

from mmseg_cellvta.datasets.labels import read_labels
from mmseg_cellvta.datasets.mat_labels import read_mat_labels, read_mat_maps

# Ids with a gap, listed in an order that is neither theirs nor that of the classes.
INST_MAP = np.array([[0, 9, 9, 0], [4, 4, 0, 2], [4, 0, 0, 2]])
CLASS_MAP = np.array([[0, 3, 3, 0], [1, 1, 0, 2], [1, 0, 0, 2]])
UIDS, TYPES = [[4], [9], [2]], [[1], [3], [2]]
CENTROIDS = [[0.3, 1.3], [1.5, 0], [3, 1.5]]
DIALECTS = dict(
    consep=dict(type_map=CLASS_MAP.astype(float), inst_type=[[2], [1], [3]],
                inst_centroid=CENTROIDS),
    hovernet=dict(inst_type=TYPES, inst_uid=UIDS, inst_centroid=CENTROIDS),
    lizard={'class': TYPES, 'id': UIDS, 'bbox': np.zeros((3, 4)),
            'centroid': CENTROIDS})


def write(path, **arrays):
    savemat(path, dict(inst_map=INST_MAP.astype(float)) | arrays)
    return str(path)


@pytest.mark.parametrize('dialect', DIALECTS)
def test_every_dialect_gives_the_same_maps(tmp_path, dialect):
    path = write(tmp_path / 'a.mat', **DIALECTS[dialect])
    for inst_map, class_map in (read_mat_maps(path), read_labels(path)):
        assert (inst_map == INST_MAP).all() and (class_map == CLASS_MAP).all()


@pytest.mark.parametrize('name', ['inst_type', 'class'])
def test_without_ids_classes_are_those_of_ids_without_gaps(tmp_path, name):
    numbered = np.searchsorted([0, 2, 4, 9], INST_MAP)
    path = write(tmp_path / 'a.mat', inst_map=numbered, **{name: [[2], [1], [3]]})
    assert (read_mat_maps(path)[1] == CLASS_MAP).all()
    path = write(tmp_path / 'gap.mat', **{name: [[2], [1], [3]]})
    with pytest.raises(ValueError, match=f'gap.mat: {name} lists 3 nuclei without '
                       'their ids, and inst_map holds 3 nuclei with ids up to 9'):
        read_mat_maps(path)


@pytest.mark.parametrize('dialect', DIALECTS)
def test_an_image_without_nuclei_is_read(tmp_path, dialect):
    empty = {name: np.zeros((0, 0)) for name in DIALECTS[dialect]}
    if dialect == 'consep':
        empty['type_map'] = np.zeros((3, 4))
    maps = read_mat_maps(write(tmp_path / 'a.mat', inst_map=np.zeros((3, 4)), **empty))
    assert not maps[0].any() and not maps[1].any()


def test_instances_alone_have_no_classes(tmp_path):
    assert read_mat_maps(write(tmp_path / 'a.mat'))[1] is None


@pytest.mark.parametrize(('arrays', 'message'), [
    (dict(inst_type=TYPES, inst_uid=UIDS[:2]), 'inst_type lists 3 classes for 2 ids'),
    (dict(inst_type=TYPES[:2], inst_uid=UIDS[:2]),
     'inst_type has no class for 1 nuclei of inst_map, the first has id 2'),
    ({'class': TYPES, 'id': [[4], [9], [9]]}, 'class: ids of nuclei are there twice'),
    ({'class': [[1], [np.nan], [2]], 'id': UIDS}, 'class: nan at row 1'),
    (dict(type_map=CLASS_MAP + 0.5), 'type_map: 0.5 at row 0, column 0'),
    (dict(inst_map=INST_MAP + 0.5, type_map=CLASS_MAP), 'inst_map: 0.5 at row 0'),
    (dict(inst_map=np.zeros((3, 3)), type_map=np.zeros((3, 4))),
     'inst_map has shape (3, 3)'),
    (dict(type_map=CLASS_MAP + 256), 'type_map goes from 256 to 259'),
    ({}, 'holds no type_map, and no inst_type or class of each')])
def test_what_does_not_fit_is_named(tmp_path, arrays, message):
    path = write(tmp_path / 'a.mat', **arrays)
    with pytest.raises(ValueError, match=re.escape(f'a.mat: {message}')):
        read_mat_labels(path)


@pytest.mark.parametrize(('content', 'message'), [
    (b'MATLAB 5.0 but not really', 'not a readable .mat file'),
    (b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + bytes(100),
     'a .mat file of version 7.3 (HDF5), which is not read')])
def test_unreadable_files_are_named(tmp_path, content, message):
    (tmp_path / 'a.mat').write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f'a.mat: {message}')):
        read_mat_maps(str(tmp_path / 'a.mat'))
