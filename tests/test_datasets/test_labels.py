# Copyright (c) CellVTA-MMSeg contributors.
import re

import numpy as np
import pytest

from mmseg_cellvta.datasets.labels import (
    check_labels,
    count_nuclei,
    read_info,
    read_names,
    read_rows,
    write_info,
)


def two_nuclei():
    inst_map = np.zeros((6, 6), np.int32)
    class_map = np.zeros((6, 6), np.int16)
    inst_map[:2], class_map[:2] = 7, 1
    inst_map[4:], class_map[4:] = 70000, 2
    return inst_map, class_map


def test_right_labels_pass():
    inst_map, class_map = two_nuclei()
    check_labels(inst_map, class_map, 3, 'x')
    class_map[3] = 2  # a class on background pixels is no error
    check_labels(inst_map, class_map, 3, 'x')
    check_labels(np.zeros((4, 4), np.int32), np.zeros((4, 4), np.uint8), 3, 'x')


@pytest.mark.parametrize(('wrong_map', 'where', 'value', 'message'), [
    (1, np.s_[4:], 3, 'class id 3 (instance 70000) is outside the 3 classes 0..2'),
    (1, np.s_[0, 3], 2, 'instance 7 has the classes [1, 2]'),
    (1, np.s_[:2], 0, 'instance 7 has class 0'),
    (0, np.s_[0, 0], -1, 'instance id -1; ids must not be negative'),
    (0, np.s_[0, 0], 1 << 30, 'instance id 1073741824; expected at most 16777215'),
    (1, np.s_[3, 0], -1, 'class id -1; ids must not be negative'),
])
def test_wrong_labels_name_image_and_instance(wrong_map, where, value, message):
    maps = two_nuclei()
    maps[wrong_map][where] = value
    with pytest.raises(ValueError, match=re.escape(f'a.npy[3]: {message}')):
        check_labels(*maps, 3, 'a.npy[3]')


def test_nuclei_are_counted_by_class_whatever_their_ids():
    inst_map = np.array([[0, 9, 9, 2], [4, 4, 0, 0]])
    class_map = np.array([[3, 1, 1, 3], [1, 1, 0, 2]])  # 3 and 2 also on background
    assert count_nuclei(inst_map, class_map, 4).tolist() == [2, 0, 1]
    assert count_nuclei(0 * inst_map, class_map, 4).tolist() == [0, 0, 0]


BOM = '\ufeff'  # Windows editors and Excel write it at the start


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    write_info(tmp_path, ['background', 'tumour'], [[0, 0, 0], [1, 1, 1]], 0.5)
    for name, text in {'names.txt': 'a\nb\n', 'rows.csv': 'patch_info\na-1\n',
                       'dataset.json': (tmp_path / 'dataset.json').read_text()}.items():
        (tmp_path / name).write_text(BOM + text, encoding='utf-8')
    assert read_names(tmp_path / 'names.txt', ['a', 'b']) == ['a', 'b']
    assert read_rows(str(tmp_path / 'rows.csv')) == [dict(patch_info='a-1')]
    assert read_info(tmp_path)['classes'] == ['background', 'tumour']


def test_text_of_another_encoding_is_named(tmp_path):
    (tmp_path / 'names.txt').write_text('a\n', encoding='utf-16')
    with pytest.raises(ValueError, match='names.txt: not UTF-8 text'):
        read_names(tmp_path / 'names.txt', ['a'])


def test_a_patch_without_a_name_is_refused(tmp_path):
    (tmp_path / 'rows.csv').write_text('patch_info,tissue\na,Colon\n,Colon\n')
    with pytest.raises(ValueError, match='row 2 below the header has no name'):
        read_rows(str(tmp_path / 'rows.csv'))


@pytest.mark.parametrize('names', [
    ['a', 'a'], ['a', 'A'], ['a', ' b'], ['a\nb', 'c'], ['a', 'Background'], ['', 'b']])
def test_classes_that_cannot_be_told_apart_are_refused(tmp_path, names):
    write_info(tmp_path, ['background', *names], [[0, 0, 0]] * 3, 0.5)
    with pytest.raises(ValueError, match='dataset.json: class .* '
                       '(is there twice|is no name|has blanks around it)'):
        read_info(tmp_path)
