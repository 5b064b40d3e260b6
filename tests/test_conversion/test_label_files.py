# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_data import NUCLEI, SHAPE, label_maps, write_labels
from scipy.io import savemat

from mmseg_cellvta.conversion.label_files import LabelReader
from mmseg_cellvta.conversion.writers import LabelledImage

CLASSES = ['background', 'tumour', 'other']
ONE_CLASS = ['background', 'nucleus']


def read(path, classes=CLASSES, class_path=None):
    image = LabelledImage('a', Path('a.png'), path, class_path)
    return LabelReader(classes)(image, SHAPE)


@pytest.mark.parametrize('suffix', ['.npy', '.mat', '.png', '.tif', '.geojson'])
def test_every_format_gives_the_same_nuclei(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    write_labels(path)
    class_path = tmp_path / f'a_class{suffix}'
    inst_map, class_map = read(
        path, class_path=class_path if class_path.exists() else None)
    expected = label_maps()
    assert (class_map == expected[1]).all()
    for number, (rows, cols, _) in NUCLEI.items():
        assert len(np.unique(inst_map[rows, cols])) == 1
        assert suffix == '.geojson' or inst_map[rows.start, cols.start] == number
    assert ((inst_map > 0) == (expected[0] > 0)).all()


@pytest.mark.parametrize('suffix', ['.npy', '.mat', '.png', '.tif', '.geojson'])
def test_with_one_class_what_the_file_says_does_not_count(tmp_path, suffix):
    write_labels(tmp_path / f'a{suffix}')
    inst_map, class_map = read(tmp_path / f'a{suffix}', ONE_CLASS)
    assert (class_map == (inst_map > 0)).all() and len(np.unique(inst_map)) == 4


def write_plain(folder, suffix):
    path = folder / f'a{suffix}'
    if suffix == '.npy':
        np.save(path, label_maps()[0])
    elif suffix == '.mat':
        savemat(path, dict(inst_map=label_maps()[0]))
    else:
        cv2.imwrite(str(path), label_maps()[0])
    return path


@pytest.mark.parametrize('suffix', ['.npy', '.mat', '.tif'])
def test_instances_alone_are_enough_for_one_class_only(tmp_path, suffix):
    path = write_plain(tmp_path, suffix)
    assert (read(path, ONE_CLASS)[0] == label_maps()[0]).all()
    with pytest.raises(ValueError, match=f'a{suffix}: holds no classes; add a_class'):
        read(path)


def test_map_of_classes_may_be_of_another_format(tmp_path):
    path = write_plain(tmp_path, '.npy')
    cv2.imwrite(str(tmp_path / 'a_class.png'), label_maps()[1])
    assert (read(path, class_path=tmp_path / 'a_class.png')[1] == label_maps()[1]).all()


def test_classes_in_two_places_are_refused(tmp_path):
    write_labels(tmp_path / 'a.npy')
    write_labels(tmp_path / 'b.png')
    with pytest.raises(ValueError, match='b_class.png: a.npy holds classes already'):
        read(tmp_path / 'a.npy', class_path=tmp_path / 'b_class.png')


@pytest.mark.parametrize(('array', 'message'), [
    (np.zeros((4, 5, 3), int), r'a.npy: shape \(4, 5, 3\); expected \(H, W\)'),
    (np.zeros(4, int), r'a.npy: shape \(4,\); expected'),
    (np.full((4, 5), 1.5), 'a.npy: 1.5 at row 0, column 0; expected whole numbers'),
    (np.full((4, 5), np.nan), 'a.npy: nan at row 0'),
    (np.full((4, 5), 1 << 24), 'a.npy: id 16777216; expected at most 16777215'),
    (np.full((4, 5), 'x'), 'a.npy: <U1; expected whole numbers')])
def test_arrays_that_are_no_ids_are_refused(tmp_path, array, message):
    np.save(tmp_path / 'a.npy', array)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / 'a.npy', ONE_CLASS)


def test_whole_numbers_may_be_floats(tmp_path):
    np.save(tmp_path / 'a.npy', label_maps()[0].astype(np.float32))
    assert (read(tmp_path / 'a.npy', ONE_CLASS)[0] == label_maps()[0]).all()


@pytest.mark.parametrize('value', [1, 255])
def test_mask_without_ids_is_refused(tmp_path, value):
    mask = np.where(label_maps()[0] > 0, value, 0).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), mask)
    with pytest.raises(ValueError, match=f'a.png: one id, {value}, in 2 separate'):
        read(tmp_path / 'a.png', ONE_CLASS)


@pytest.mark.parametrize('nuclei', [0, 1])
def test_images_with_one_nucleus_or_none_are_read(tmp_path, nuclei):
    inst_map = np.zeros(SHAPE, np.uint8)
    inst_map[4:9, 4:9] = nuclei
    cv2.imwrite(str(tmp_path / 'a.png'), inst_map)
    assert (read(tmp_path / 'a.png', ONE_CLASS)[0] == inst_map).all()


@pytest.mark.parametrize(('name', 'message'), [
    ('a.npy', 'a.npy: not a complete .npy file'), ('a.mat', 'a.mat: not a readable'),
    ('a.tif', 'a.tif: not a readable image'), ('a.xml', 'a.xml: not XML'),
    ('a.json', 'a.json: not JSON'), ('b.mat', 'b.mat: holds no inst_map')])
def test_damaged_files_are_named(tmp_path, name, message):
    (tmp_path / name).write_text('neither here nor there')
    savemat(tmp_path / 'b.mat', dict(type_map=label_maps()[1]))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_outlines_without_a_pixel_are_reported(tmp_path):
    path = tmp_path / 'a.geojson'
    write_labels(path)
    path.write_text(path.read_text().replace('[60, 30], [60, 40], [50, 40]',
                                             '[50, 30], [50, 30], [50, 30]'))
    reader = LabelReader(CLASSES)
    inst_map, _ = reader(LabelledImage('a', Path('a.png'), path), SHAPE)
    assert len(np.unique(inst_map)) == 3
    remark, = reader.remarks
    assert remark.startswith(f'{path}: 1 of 3 outlines have no pixel')
