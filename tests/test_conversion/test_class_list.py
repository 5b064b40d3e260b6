# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.conversion.class_list import find_class, make_palette, parse_classes

CLASSES = ['background', 'tumour', 'plasma cell']


@pytest.mark.parametrize('text', [
    'tumour,plasma cell', ' tumour , plasma cell,', 'Background,tumour,plasma cell'])
def test_names_are_separated_by_commas(text):
    assert parse_classes(text) == CLASSES


def test_names_may_be_lines_of_a_file(tmp_path):
    (tmp_path / 'names.txt').write_text('tumour\n\nplasma cell\n')
    assert parse_classes(str(tmp_path / 'names.txt')) == CLASSES


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / 'names.txt').write_text('tumour\r\nplasma cell\r\n', 'utf-8-sig')
    assert parse_classes(str(tmp_path / 'names.txt')) == CLASSES


def test_a_list_may_be_longer_than_a_file_name():
    names = [f'class number {i}' for i in range(200)]
    assert parse_classes(','.join(names)) == ['background', *names]


@pytest.mark.parametrize('name', ['names.txt', 'folder/classes.CSV', 'c.json'])
def test_a_file_that_is_not_there_is_no_class(name):
    with pytest.raises(FileNotFoundError, match=f'{name}: no such file of class names'):
        parse_classes(name)


@pytest.mark.parametrize(('content', 'message'), [
    ('tumour,plasma cell\n', "one line, 'tumour,plasma cell'; in a file every class"),
    ('tumour\nTumour\n', "names.txt: class 'Tumour' is there twice"),
    ('tumour\nplasma\xa0cell\n', 'cannot be printed')])
def test_wrong_files_are_refused(tmp_path, content, message):
    (tmp_path / 'names.txt').write_text(content, 'utf-8')
    with pytest.raises(ValueError, match=message):
        parse_classes(str(tmp_path / 'names.txt'))


@pytest.mark.parametrize(('text', 'message'), [
    (',', 'names no class'), ('background', 'names no class'),
    ('a,b,A', "class 'A' is there twice"), ('a,Background', "'Background' is there")])
def test_wrong_lists_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_classes(text)


def test_class_is_found_whatever_its_capitals():
    assert find_class([None, 'Region', ' PLASMA cell '], CLASSES, 'x') == 2


def test_the_only_class_needs_no_name():
    assert find_class(['whatever'], CLASSES[:2], 'x') == 1
    assert find_class([], CLASSES[:2], 'x') == 1


@pytest.mark.parametrize(('names', 'message'), [
    (['stroma'], "a.xml: class 'stroma' is none of tumour, plasma cell"),
    (['background'], "class 'background' is none of"),
    ([None, ''], 'a.xml: no class; none of tumour, plasma cell')])
def test_unknown_class_is_named_with_the_list(names, message):
    with pytest.raises(ValueError, match=message):
        find_class(names, CLASSES, 'a.xml')


@pytest.mark.parametrize('num_classes', [2, 7, 20])
def test_every_class_has_a_colour_of_its_own(num_classes):
    palette = make_palette(num_classes)
    assert palette[0] == [0, 0, 0] and len(palette) == num_classes
    assert np.array(palette).min() >= 0 and np.array(palette).max() <= 255
    assert len(set(map(tuple, palette))) == num_classes
