# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.conversion.class_list import make_palette
from mmseg_cellvta.utils.dataset_meta import check_dataset_meta, read_dataset_meta
from mmseg_cellvta.utils.plain_loading import CheckpointError

CLASSES = ('background', 'red', 'blue')
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(('classes', 'fault'), [
    (('background', 'red'), r'2 classes \(background, red\)'),
    ((*CLASSES, 'green'), '4 classes'), ((), '0 classes'),
    (('background', 'red', 'red'), "a class 'red' twice"),
    (('background', 1, 2), 'a class 1,'), (('background', 'red', ''), "a class ''"),
    (('background', None, 'red'), 'a class None'), ('abc', "its classes as 'abc'"),
    (dict(a=0, b=1, c=2), 'its classes as {'), (3, 'its classes as 3')])
def test_names_that_are_not_the_models_are_refused(classes, fault):
    with pytest.raises(CheckpointError, match=(
            f'a.pth: dataset_meta names {fault}.*predicts 3 classes')) as error:
        check_dataset_meta(dict(classes=classes, palette=PALETTE), 3, 'a.pth')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('classes', [CLASSES, list(CLASSES), np.array(CLASSES)])
@pytest.mark.parametrize('palette', [
    PALETTE, tuple(map(tuple, PALETTE)), np.array(PALETTE), np.array(PALETTE, np.uint8),
    np.array(PALETTE, float), [np.array(color) for color in PALETTE]])
def test_names_and_colours_become_plain(classes, palette):
    meta = check_dataset_meta(dict(classes=classes, palette=palette, more=1), 3, 'a')
    assert repr(meta) == repr(dict(classes=CLASSES, palette=PALETTE, more=1))


@pytest.mark.parametrize('palette', [
    None, [], PALETTE[:2], [*PALETTE, [1, 2, 3]], [[0, 0]] * 3, [[0, 0, 0], [1], [2]],
    [[0, 0, 256]] * 3, [[0, 0, -1]] * 3, [[0, 0, 0.5]] * 3, [[0, 0, np.nan]] * 3,
    ['red', 'green', 'blue'], 'red'])
def test_a_palette_that_does_not_fit_is_made(palette, caplog):
    meta = check_dataset_meta(dict(classes=CLASSES, palette=palette), 3, 'a')
    assert meta['palette'] == make_palette(3)


def test_without_a_palette_one_is_made():
    assert check_dataset_meta(dict(classes=CLASSES), 3, 'a')['palette'] == make_palette(
        3)


@pytest.mark.parametrize('checkpoint', [
    {}, dict(meta=None), dict(meta={}), dict(meta=dict(dataset_meta=None)),
    dict(meta=dict(dataset_meta={})), dict(meta=dict(dataset_meta=dict(palette=[])))])
def test_a_checkpoint_may_name_no_classes(checkpoint):
    assert read_dataset_meta(checkpoint) is None
