# Copyright (c) CellVTA-MMSeg contributors.
import json

import numpy as np
import pytest

from mmseg_cellvta.conversion.polygons import rasterize, read_geojson, read_imagescope

CLASSES = ['background', 'tumour', 'lymphocyte']
RING = [[2, 3], [6, 3], [6, 8], [2, 8], [2, 3]]
FAR = [[10, 10], [12, 10], [12, 12], [10, 12], [10, 10]]


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
    cell['nucleusGeometry'] = dict(type='Polygon', coordinates=[FAR])
    assert read([cell])[0].area.area == 4


@pytest.mark.parametrize('said', [
    dict(name='tumour'), dict(names=['tumour']), 'Tumour'])
def test_classes_are_found_in_the_forms_of_several_versions(read, said):
    assert read([feature(classification=said)])[0].class_id == 1


def test_with_one_class_nothing_has_to_be_said(read):
    bare = dict(feature(), properties=None)
    assert read([bare, feature(**named('x'))], CLASSES[:2])[1].class_id == 1


def test_empty_collection_is_a_picture_without_nuclei(read):
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
    ([feature(coordinates=[[[1, 2], [3]]])], r'\[0\]: coordinates are no points'),
    ([feature(coordinates=[[1, 2, 3]])], r'\[0\]: expected points of two numbers'),
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
    outlines = read_xml(annotation(region(RING), region(RING, NegativeROA=1),
                                   name='tumour'))
    assert not rasterize(outlines, (20, 20), 'a')[0].any()


def test_stray_click_draws_nothing(read_xml):
    outlines = read_xml(annotation(region([]), region([(3, 4)]), name='tumour'))
    assert not rasterize(outlines, (20, 20), 'a')[0].any()


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
