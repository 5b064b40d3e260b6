# Copyright (c) CellVTA-MMSeg contributors.
import json

import cv2
import numpy as np
import pytest
import shapely

from mmseg_cellvta.conversion.drawn_conic import draw_numbered_patch
from mmseg_cellvta.conversion.polygons import (
    Outline,
    make_area,
    rasterize,
    read_geojson,
    read_imagescope,
)
from mmseg_cellvta.structures.cell_table import nucleus_outlines

CLASSES = ['background', 'tumour', 'lymphocyte']
RING = [[2, 3], [6, 3], [6, 8], [2, 8], [2, 3]]
FAR = [[10, 10], [12, 10], [12, 12], [10, 12], [10, 10]]


def box(x1, y1, x2, y2):
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def feature(kind='Polygon', coordinates=(RING, ), **properties):
    return dict(type='Feature', geometry=dict(type=kind, coordinates=coordinates),
                properties=properties)


def named(name):
    return dict(classification=dict(name=name, color=[255, 0, 0]))


def collect(*features):
    return dict(type='FeatureCollection', features=features)


@pytest.fixture
def read(tmp_path):

    def read_content(content, classes=CLASSES):
        path = tmp_path / 'a.geojson'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_geojson(path, classes)

    return read_content


def test_pixel_0_reaches_from_0_to_1(read):
    inst_map, class_map = rasterize(
        read(collect(feature(**named('Tumour')))), (20, 20), 'a')
    expected = np.zeros((20, 20), bool)
    expected[3:8, 2:6] = True
    assert ((inst_map == 1) == expected).all() and ((class_map == 1) == expected).all()


def test_a_bare_list_of_features_is_read(read):
    outlines = read([feature(**named('LYMPHOCYTE')), feature(**named('tumour'))])
    assert [outline.class_id for outline in outlines] == [2, 1]


def test_parts_and_holes_are_read(read):
    hole = [[3, 4], [5, 4], [5, 6], [3, 6], [3, 4]]
    outline, = read([feature('MultiPolygon', [[RING, hole], [FAR]], **named('tumour'))])
    assert outline.area.area == 20 - 4 + 4


def test_of_a_cell_the_nucleus_counts(read):
    cell = feature(**named('tumour'))
    third = [[*point, 9] for point in FAR]  # a third coordinate does not count
    cell['nucleusGeometry'] = dict(type='Polygon', coordinates=[third])
    assert read([cell])[0].area.area == 4


@pytest.mark.parametrize('said', [
    dict(name='tumour'), dict(names=['tumour']), 'Tumour'])
def test_classes_are_found_in_the_forms_of_several_versions(read, said):
    assert read([feature(classification=said)])[0].class_id == 1


def test_with_one_class_nothing_has_to_be_said(read):
    bare = dict(feature(), properties=None)
    assert read([bare, feature(**named('x'))], CLASSES[:2])[1].class_id == 1


def test_empty_collection_is_an_image_without_nuclei(read):
    assert read(collect()) == []


@pytest.mark.parametrize(('content', 'message'), [
    ('{"features": ', 'a.geojson: not JSON'),
    ({'type': 'Polygon'}, 'a.geojson: expected a FeatureCollection or a list'),
    (3, 'a.geojson: expected a FeatureCollection or a list'),
    (collect(feature(**named('tumour')), feature(**named('stroma'))),
     r"a.geojson: features\[1\]: class 'stroma' is none of tumour, lymphocyte"),
    ([feature()], r'a.geojson: \[0\]: no class; none of tumour'),
    ([feature('Point', [3, 4], **named('tumour'))],
     r'\[0\]: a Point; expected Polygon or MultiPolygon'),
    ([dict(type='Feature', geometry=None)], r'\[0\]: no feature with a geometry'),
    ([3], r'\[0\]: no feature with a geometry'),
    ([feature() | dict(properties=[3])], r'\[0\]: its properties name no class'),
    ([feature() | dict(properties=dict(classification=7))],
     r'\[0\]: class 7 is no text'),
    ([feature(coordinates=[[[1, 2], [3]]])], r'\[0\]: coordinates are no points'),
    ([feature(coordinates=[[1, 2, 3]])], r'\[0\]: expected points of two numbers'),
    ([feature(coordinates=[[[0, 0], [1, np.nan], [2, 2]]])],
     r'\[0\]: expected points of two numbers'),
    ([feature(coordinates=5)], r'\[0\]: coordinates are no points')])
def test_wrong_content_is_named_with_its_place(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


def region(points, **attributes):
    words = ' '.join(f'{key}="{value}"' for key, value in attributes.items())
    vertices = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f'<Region {words}><Vertices>{vertices}</Vertices></Region>'


def annotation(*regions, name='', attribute=''):
    return (f'<Annotation Name="{name}"><Attributes><Attribute Name="{attribute}" '
            f'Value=""/></Attributes><Regions>{"".join(regions)}</Regions>'
            '</Annotation>')


@pytest.fixture
def read_xml(tmp_path):

    def read_annotations(*annotations, root='Annotations'):
        path = tmp_path / 'a.xml'
        path.write_text(f'<{root}>{"".join(annotations)}</{root}>')
        return read_imagescope(path, CLASSES)

    return read_annotations


def test_centre_of_pixel_0_is_at_0(read_xml):
    outlines = read_xml(annotation(region(RING), name='Tumour'))
    inst_map, _ = rasterize(outlines, (20, 20), 'a')
    assert (np.argwhere(inst_map).min(0) == [3, 2]).all()
    assert (np.argwhere(inst_map).max(0) == [8, 6]).all()


def test_class_is_the_name_or_an_attribute(read_xml):
    outlines = read_xml(annotation(region(RING), region(FAR), attribute='Lymphocyte'),
                        annotation(name='unused'),
                        annotation(region(FAR), name='tumour', attribute='Description'))
    assert [outline.class_id for outline in outlines] == [2, 2, 1]


def test_negative_region_erases(read_xml):
    outlines = read_xml(annotation(region(box(0.5, 0.5, 6.5, 6.5)), region(
        box(2.5, 2.5, 4.5, 4.5), NegativeROA=1), name='tumour'))
    inst_map, class_map = rasterize(outlines, (20, 20), 'a')
    assert (inst_map > 0).sum() == 36 - 4 and ((class_map > 0) == (inst_map > 0)).all()


@pytest.mark.parametrize(('content', 'message'), [
    (annotation(region(RING), name='stroma', attribute='x'),
     r"a.xml: Annotation\[0\]: class 'stroma' / 'x' is none of tumour, lymphocyte"),
    (annotation(region(RING)), r'a.xml: Annotation\[0\]: no class; none of'),
    (annotation(region(RING), region(RING, Type=2), name='tumour'),
     r'a.xml: Annotation\[0\] Region\[1\]: Type 2, an ellipse'),
    (annotation(region([('a', 1), (2, 3), (4, 5)]), name='tumour'),
     r'Region\[0\]: a vertex without numbers'),
    ('<Annotation>', 'a.xml: not XML')])
def test_wrong_annotation_is_named_with_its_place(read_xml, content, message):
    with pytest.raises(ValueError, match=message):
        read_xml(content)


def test_other_xml_is_refused(read_xml):
    with pytest.raises(ValueError, match='a.xml: begins with svg; expected'):
        read_xml(root='svg')


def test_real_imagescope_file_gives_its_published_maps(shared_dir):
    folder = shared_dir / 'data' / 'monusac_sample'
    truth = np.load(folder / 'A9K0_1.npz')
    outlines = read_imagescope(folder / 'A9K0_1.xml', [
        'background', 'epithelial', 'lymphocyte', 'neutrophil', 'macrophage'])
    inst_map, class_map = rasterize(outlines, truth['inst'].shape, 'a')
    assert len(np.unique(inst_map)) == len(np.unique(truth['inst'])) == 322
    assert ((inst_map > 0) == (truth['inst'] > 0)).mean() > 0.9997
    both = (inst_map > 0) & (truth['inst'] > 0)
    assert (class_map[both] == truth['type'][both]).mean() > 0.9999
    for number in np.unique(inst_map)[1:]:
        mine = inst_map == number
        theirs = truth['inst'] == np.bincount(truth['inst'][mine]).argmax()
        assert (mine & theirs).sum() / (mine | theirs).sum() > 0.98


def outline(*rings, class_id=1):
    return Outline(make_area([np.array(ring, float) for ring in rings], 'ring'),
                   class_id, 'ring')


def draw(*outlines, shape=(12, 14)):
    return rasterize(outlines, shape, 'a.xml')


def test_pixels_are_those_whose_centre_is_inside():
    inst_map, class_map = draw(outline(box(1.5, 2.5, 4.5, 8.5), class_id=3))
    expected = np.zeros((12, 14), int)
    expected[3:9, 2:5] = 1
    assert (inst_map == expected).all() and (class_map == 3 * expected).all()
    assert inst_map.dtype == np.int32 and class_map.dtype == np.uint8


def test_nucleus_within_the_hole_of_a_multipolygon_is_drawn():
    ring = make_area([np.array(box(0.5, 0.5, 9.5, 9.5)),
                      np.array(box(2.5, 2.5, 7.5, 7.5))], 'ring')
    core = shapely.box(3.5, 3.5, 6.5, 6.5)
    inst_map, _ = draw(Outline(shapely.MultiPolygon([ring, core]), 1, 'both'))
    assert (inst_map > 0).sum() == 81 - 25 + 9


def test_later_outline_wins_and_a_covered_one_is_gone():
    inst_map, class_map = draw(
        outline(box(2.5, 2.5, 4.5, 4.5), class_id=1),
        outline(box(0.5, 0.5, 6.5, 6.5), class_id=2),
        outline(box(4.5, 0.5, 8.5, 6.5), class_id=1))
    assert np.unique(inst_map).tolist() == [0, 2, 3]
    assert class_map[3, 3] == 2 and class_map[3, 5] == 1


def test_outlines_are_cut_at_the_border():
    inst_map, _ = draw(outline(box(-5, -5, 2.5, 2.5)), outline(box(11.5, 9.5, 90, 90)))
    assert (inst_map == 1).sum() == 9 and (inst_map == 2).sum() == 4


@pytest.mark.parametrize('place', [
    box(14, 2, 20, 4), box(2, 12, 4, 20), box(-9, 2, -1, 4), box(2, -9, 4, -1)])
def test_outline_beside_the_image_is_named(place):
    with pytest.raises(ValueError, match='a.xml: ring is outside the image: x .*14 '
                       'x 12 px'):
        draw(outline(place))


@pytest.mark.parametrize(('ring', 'point'), [
    ([(0, 0), (8, 8), (8, 0), (0, 8)], (7, 4)),
    ([(0, 0), (10, 0), (10, 10), (0, 10), (0, -2), (5, -2), (5, 3), (3, 3), (3, -1)],
     (4, 2))])  # its end overruns its beginning
def test_outline_that_crosses_itself_keeps_all_that_it_encloses(ring, point):
    area = outline(ring).area
    assert area.is_valid and shapely.Point(point).within(area)
    assert shapely.Point(1, 4).within(area)


@pytest.mark.parametrize('ring', [[], [(2, 2)], [(2, 2), (4, 4), (6, 6)]])
def test_stray_clicks_and_lines_draw_nothing(read_xml, ring):
    outlines = read_xml(annotation(region(ring), name='tumour'))
    assert not rasterize(outlines, (20, 20), 'a')[0].any()


def test_what_the_package_writes_for_qupath_comes_back():
    labels = draw_numbered_patch(1, seed=0)[1][..., 0]
    for number in np.unique(labels)[1:]:
        mask = (labels == number).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if len(contours) > 1:
            continue
        filled = cv2.drawContours(mask, contours, 0, 1, cv2.FILLED)
        ring, = nucleus_outlines([contours[0][:, 0]])
        area = shapely.Polygon(ring)
        ring = np.array(area.exterior.coords) - 0.5  # pixel 0 reaches from 0 to 1
        drawn, _ = draw(outline(ring), shape=labels.shape)
        assert (drawn == filled).all()


def test_work_does_not_grow_with_the_image():
    corner = outline(box(5000.5, 5000.5, 5003.5, 5003.5))
    inst_map, _ = draw(*[corner] * 500, shape=(6000, 6000))
    assert (inst_map == 500).sum() == 9
