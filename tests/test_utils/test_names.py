# Copyright (c) CellVTA-MMSeg contributors.
import os

import pytest

from mmseg_cellvta.utils.names import (
    check_class_names,
    check_image_names,
    check_tissues,
)

LATIN_1 = os.fsdecode('caf\u00e9'.encode('latin-1'))


def test_ordinary_names_pass():
    check_image_names(['a', 'A', 'a.b', 'caf\u00e9', 'with blank', '-', 'x_class'], 'x')
    check_image_names([], 'x')
    check_class_names(['background', 'Tumor, NOS', 'CD3+/CD8-', 'plasma cell'], 'x')
    check_class_names(['glass', 'tumour'], 'x')  # 0 may be called otherwise
    check_tissues(['Breast', 'Bile-duct'], 'x')


@pytest.mark.parametrize(('names', 'message'), [
    (['a', 'b', 'a'], "several images, the first is 'a'"),
    ([LATIN_1], 'not in UTF-8; rename it'), (['slides/a'], 'without /'),
    (['../a'], 'without /'), (['a\nb'], 'one line'), (['a '], 'without blanks'),
    ([''], 'one line')])
def test_names_that_cannot_be_files_of_their_own_are_refused(names, message):
    with pytest.raises(ValueError, match=message) as raised:
        check_image_names(names, 'data')
    str(raised.value).encode()  # can be printed


@pytest.mark.parametrize(('names', 'message'), [
    (['a', 'a'], "class 'a' is there twice;"),
    (['a', 'A'], r"class 'A' is there twice \(also as 'a'\)"),
    (['a', 'Background'], "'Background' is there twice"),
    (['background', 'a'], "'background' is there twice"),
    (['a '], 'blanks around'), (['a\nb'], 'cannot be printed'),
    (['\ufeffa'], 'cannot be printed'), ([LATIN_1], 'cannot be printed'),
    ([''], "'' is no name"), ([' '], 'is no name'), ([3], '3 is no name'),
    ([f'c{i}' for i in range(255)], '256 classes; expected at most 255')])
def test_classes_that_cannot_be_told_apart_are_refused(names, message):
    with pytest.raises(ValueError, match=f'x: .*{message}'):
        check_class_names(['background', *names], 'x')


def test_no_class_after_another_first_one_is_called_background():
    with pytest.raises(ValueError, match="'background' is there twice"):
        check_class_names(['glass', 'background'], 'x')


@pytest.mark.parametrize('names', [['Breast', 'breast'], ['Colon', 'Colon ']])
def test_tissues_that_are_one_are_refused(names):
    with pytest.raises(ValueError, match='x: tissue .* is there twice'):
        check_tissues(names, 'x')
