# Copyright (c) CellVTA-MMSeg contributors.
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_data import NUCLEI, SHAPE, label_maps, square, write_labels
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


BOXES = list(NUCLEI.values())
MAPS = ['npy', 'mat', 'hovernet.mat', 'lizard.mat', 'plain.npy', 'plain.mat', 'png',
        'tif']
OUTLINES = ['geojson', 'json', 'xml', 'hovernet.json']


def draw(boxes, ids):
    inst_map, class_map = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8)
    for number, (rows, cols, class_id) in zip(ids, boxes, strict=True):
        inst_map[rows, cols], class_map[rows, cols] = number, class_id
    return inst_map, class_map


def write_maps(path, kind, boxes, ids):
    """Writes maps in a format; returns the file of the classes, if it is another."""
    inst_map, class_map = draw(boxes, ids)
    types = np.array([[box[2]] for box in boxes])
    content = {'mat': dict(type_map=class_map),
               'hovernet.mat': dict(inst_type=types, inst_uid=np.array(ids)[:, None]),
               'lizard.mat': {'class': types, 'id': np.array(ids)[:, None]},
               'plain.mat': {}}
    if kind in content:
        savemat(path, dict(inst_map=inst_map) | content[kind])
    elif kind == 'npy':
        np.save(path, np.stack([inst_map, class_map], axis=-1))
    elif kind == 'plain.npy':
        np.save(path, inst_map)
    else:
        cv2.imwrite(str(path), inst_map)
    if kind in ('plain.npy', 'plain.mat', 'png', 'tif'):
        cv2.imwrite(str(path.with_name('a_class.png')), class_map)
        return path.with_name('a_class.png')


def write_outlines(path, kind, boxes):
    features = [square(*box) for box in boxes]
    rings = [feature['geometry']['coordinates'][0] for feature in features]
    names = [feature['properties']['classification']['name'] for feature in features]
    if kind == 'xml':
        path.write_text('<Annotations>' + ''.join(
            f'<Annotation Name="{name}"><Regions><Region><Vertices>' + ''.join(
                f'<Vertex X="{x - 0.5}" Y="{y - 0.5}"/>' for x, y in ring[:4])
            + '</Vertices></Region></Regions></Annotation>'
            for name, ring in zip(names, rings, strict=True)) + '</Annotations>')
    elif kind == 'hovernet.json':
        path.write_text(json.dumps(dict(mag=40, nuc={
            str(number): dict(type=class_id, contour=[
                [x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]])
            for number, (((x1, y1), _, (x2, y2), *_), (*_, class_id)) in enumerate(
                zip(rings, boxes, strict=True), 1)})))
    else:
        path.write_text(json.dumps(dict(features=features)))


def read_kind(folder, kind, boxes, ids=None):
    path, class_path = folder / f'a.{kind}', None
    if kind in MAPS:
        class_path = write_maps(path, kind, boxes, ids or range(1, len(boxes) + 1))
    else:
        write_outlines(path, kind, boxes)
    return read(path, class_path=class_path)


@pytest.mark.parametrize('kind', MAPS + OUTLINES)
def test_every_format_and_place_of_the_classes_gives_the_same(tmp_path, kind):
    inst_map, class_map = read_kind(tmp_path, kind, BOXES)
    expected = draw(BOXES, [1, 2, 3])
    assert (inst_map == expected[0]).all() and (class_map == expected[1]).all()


@pytest.mark.parametrize('kind', MAPS + OUTLINES)
def test_images_without_nuclei_are_read_in_every_format(tmp_path, kind):
    inst_map, class_map = read_kind(tmp_path, kind, [], [])
    assert inst_map.shape == class_map.shape == SHAPE
    assert not inst_map.any() and not class_map.any()


def test_a_map_of_classes_must_be_one_map(tmp_path):
    np.save(tmp_path / 'a.npy', label_maps()[0])
    np.save(tmp_path / 'a_class.npy', np.stack(label_maps(), axis=-1))
    with pytest.raises(ValueError, match='a_class.npy: two channels; expected'):
        read(tmp_path / 'a.npy', class_path=tmp_path / 'a_class.npy')


@pytest.mark.parametrize(('ids', 'found'), [
    ([255, 255, 255], 'one id, 255, in 2 separate pieces'),
    ([1, 2, 1, 2], '2 ids in 4 separate pieces')])
@pytest.mark.parametrize('kind', [kind for kind in MAPS if kind != 'lizard.mat'
                                  and kind != 'hovernet.mat'])
def test_masks_are_refused_in_every_format(tmp_path, kind, ids, found):
    boxes = [*BOXES, (slice(20, 26), slice(30, 36), 2)][:len(ids)]
    with pytest.raises(ValueError, match=f'a.{kind}: {found}; expected an id for each'):
        read_kind(tmp_path, kind, boxes, ids)


def test_outlines_that_were_merged_are_refused(tmp_path):
    features = [square(*box) for box in BOXES]
    parts = [feature['geometry']['coordinates'] for feature in features]
    features[0]['geometry'] = dict(type='MultiPolygon', coordinates=parts)
    (tmp_path / 'a.geojson').write_text(json.dumps(features[:1]))
    with pytest.raises(ValueError, match='one id, 1, in 2 separate pieces'):
        read(tmp_path / 'a.geojson')


@pytest.mark.parametrize('margin', [0, 2])
@pytest.mark.parametrize('kind', MAPS + OUTLINES)
def test_frames_around_the_image_are_refused_in_every_format(tmp_path, kind, margin):
    height, width = SHAPE
    frame = (slice(margin, height - margin), slice(margin, width - margin), 1)
    found = 'instance 1 reaches over .* of an image of 60 x 40 px'
    if kind in OUTLINES and not margin:
        found = '.* encloses 3 other outlines'
    with pytest.raises(ValueError, match=f'a.{kind}: {found}; this is a frame'):
        read_kind(tmp_path, kind, [frame, *BOXES])
    with pytest.raises(ValueError, match=f'a.{kind}: instance 1 reaches over'):
        read_kind(tmp_path, kind, [frame])


@pytest.mark.parametrize('first', [True, False])
@pytest.mark.parametrize('kind', OUTLINES)
def test_regions_around_some_nuclei_are_refused(tmp_path, kind, first):
    region = (slice(0, 20), slice(0, 20), 1)
    boxes = [region, *BOXES] if first else [*BOXES, region]
    with pytest.raises(ValueError, match='encloses 2 other outlines; this is a frame '
                       'or a region, not a nucleus: delete it'):
        read_kind(tmp_path, kind, boxes)


@pytest.mark.parametrize('kind', OUTLINES)
def test_an_outline_that_is_there_several_times_is_no_region(tmp_path, kind):
    inst_map, _ = read_kind(tmp_path, kind, [*BOXES[:1] * 3, *BOXES[1:]])
    assert len(np.unique(inst_map)) == 4


@pytest.mark.parametrize('kind', ['npy', 'mat', 'lizard.mat', *OUTLINES])
def test_classes_in_two_places_are_refused_in_every_format(tmp_path, kind):
    write_labels(tmp_path / 'b.png')
    read_kind(tmp_path, kind, BOXES)
    with pytest.raises(ValueError, match=f'b_class.png: a.{kind} holds classes alr'):
        read(tmp_path / f'a.{kind}', class_path=tmp_path / 'b_class.png')


@pytest.mark.parametrize('name', ['a.npy', 'a.mat', 'a.png', 'a.geojson', 'a.xml'])
def test_empty_files_are_called_empty(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f'{name}: empty, 0 bytes; for an image'):
        read(tmp_path / name)


def test_pickled_objects_are_called_so_and_not_loaded(tmp_path):
    maps = dict(inst_map=label_maps()[0], type_map=label_maps()[1])
    np.save(tmp_path / 'a.npy', maps, allow_pickle=True)
    with pytest.raises(ValueError, match='a.npy: holds pickled Python objects, such as '
                       'a dictionary, which are not read'):
        read(tmp_path / 'a.npy')


@pytest.mark.parametrize('kind', ['geojson', 'json', 'xml', 'hovernet.json'])
def test_a_byte_order_mark_changes_nothing(tmp_path, kind):
    write_outlines(tmp_path / f'a.{kind}', kind, BOXES)
    content = (tmp_path / f'a.{kind}').read_text(encoding='utf-8')
    (tmp_path / f'a.{kind}').write_text(content, encoding='utf-8-sig')
    assert (read(tmp_path / f'a.{kind}')[1] == draw(BOXES, [1, 2, 3])[1]).all()


@pytest.mark.parametrize(('content', 'message'), [
    (dict(wsi_metadata={}, type_map={}, cells=[]),
     'expected a FeatureCollection or a list of features, found wsi_metadata, type'),
    (dict(nuc={'3': dict(contour=[[1, 1], [4, 1], [4, 4]], type=7)}),
     r'nuc\[3\]: type 7; expected a class id, 1 to 2'),
    (dict(nuc={'3': dict(contour=[[1, 1], [4, 1], [4, 4]])}), r'nuc\[3\]: type None'),
    (dict(nuc={'3': dict(type=1)}), r'nuc\[3\]: no contour of points'),
    (dict(nuc={'3': dict(type=1, contour=[])}), r'nuc\[3\]: no contour of points')])
def test_json_of_other_tools_is_read_or_named(tmp_path, content, message):
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f'a.json: {message}'):
        read(tmp_path / 'a.json')


def test_coloured_and_paged_images_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.stack([label_maps()[0]] * 3, axis=-1))
    with pytest.raises(ValueError, match='a.png: 3 channels; expected one channel'):
        read(tmp_path / 'a.png')
    cv2.imwritemulti(str(tmp_path / 'a.tif'), [*label_maps()[:1], label_maps()[0]])
    with pytest.raises(ValueError, match=r'a.tif: 2 planes .*; expected one'):
        read(tmp_path / 'a.tif')


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
