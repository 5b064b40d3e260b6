# Copyright (c) CellVTA-MMSeg contributors.
"""What SpatialData reads back is what was in the table."""
from dataclasses import replace
from unittest import mock

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from cell_tables import BANDS, INFO, squares
from slide_files import color_field, halve, write_scn

from mmseg_cellvta.exports import GeoParquetWriter, spatialdata_export
from mmseg_cellvta.exports.spatialdata_export import export_spatialdata, to_spatialdata
from mmseg_cellvta.slides import SlideReader, UnreadableError

CHUNK = 256


@pytest.fixture(scope='module')
def spatialdata():
    return pytest.importorskip('spatialdata', reason='the extra "export" is missing')


@pytest.fixture
def parquet(tmp_path):
    return write(tmp_path / 'cells.parquet')


@pytest.fixture
def image(tmp_path):
    """A PNG file of the size of the slide and its content, RGB."""
    pixels = color_field(*INFO.shape)
    cv2.imwrite(str(tmp_path / 'slide.png'), pixels[..., ::-1])
    return tmp_path / 'slide.png', pixels


def write(path, bands=BANDS, info=INFO):
    with GeoParquetWriter(path, info) as writer:
        for band in bands:
            writer.write(band)
    return path


def export(spatialdata, parquet, image=None):
    out = parquet.with_name('cells.zarr')
    count = export_spatialdata(parquet, out, image)
    data = spatialdata.read_zarr(out)
    assert len(data['cells_table']) == count
    return data


@pytest.fixture
def data_with_unused_class(spatialdata, tmp_path):
    """As BANDS, with a class without cells between the two others."""
    info = replace(
        INFO, classes=('background', 'immune', 'rare/other', 'tumour'),
        palette=(*INFO.palette[:2], (0, 255, 16), INFO.palette[2]))
    bands = [replace(band, labels=2 * band.labels - 1,
                     class_probs=np.insert(band.class_probs, 2, 0, axis=1))
             for band in BANDS]
    return export(spatialdata, write(tmp_path / 'cells.parquet', bands, info))


def test_outlines_classes_and_measurements_come_back(data_with_unused_class):
    outlines = data_with_unused_class['cells']
    assert outlines.index.tolist() == [1, 2, 3]
    assert outlines.geometry.tolist() == [
        shapely.Polygon(ring) for band in BANDS for ring in band.outlines]
    table = data_with_unused_class['cells_table']
    assert table.obs['cell_id'].tolist() == [1, 2, 3]
    assert table.obs_names.tolist() == ['1', '2', '3']
    assert table.obs['class'].tolist() == ['immune', 'tumour', 'immune']
    assert table.uns['mpp'] == 0.25
    assert table.obsm['spatial'].tolist() == [[15, 25], [105, 25.5], [35, 405]]
    assert table.var_names.tolist() == [
        'score', 'prob_background', 'prob_immune', 'prob_rare/other', 'prob_tumour',
        'area_um2']
    assert table.X.dtype == np.float32 and table.X.tolist() == [
        [0.75, 0, 0.75, 0, 0.25, 6.25], [0.75, 0, 0.25, 0, 0.75, 6.25],
        [0.75, 0, 0.75, 0, 0.25, 6.25]]
    assert 'embedding' not in table.obsm


def test_cells_and_their_nuclei_are_two_elements(spatialdata, tmp_path):
    bands = [replace(band, cell_outlines=[ring * 2 - ring[0] for ring in band.outlines])
             for band in BANDS]
    data = export(spatialdata, write(tmp_path / 'cells.parquet', bands))
    assert data['cells'].area.tolist() == [400] * 3
    assert data['nuclei'].area.tolist() == [100] * 3
    assert data['nuclei'].index.tolist() == data['cells'].index.tolist() == [1, 2, 3]
    assert data['cells_table'].obs['region'].unique().tolist() == ['cells']


def test_every_class_has_its_colour_also_after_a_join(
        spatialdata, data_with_unused_class):
    colors = dict(immune='#141edc', tumour='#dc1e14')
    _, joined = spatialdata.join_spatialelement_table(
        sdata=data_with_unused_class, spatial_element_names=['cells'],
        table_name='cells_table')
    for table, unused in (
            (data_with_unused_class['cells_table'], {'rare/other': '#00ff10'}),
            (joined, {})):
        names = table.obs['class'].cat.categories
        assert names.tolist() == ['immune', 'tumour', 'rare/other']
        assert dict(zip(names, table.uns['class_colors'], strict=False)) == {
            **colors, **unused}


def test_table_and_outlines_are_one_to_spatialdata_in_px_and_um(spatialdata, parquet):
    data = export(spatialdata, parquet)
    for system, box in (('global', (100, 20.5, 110, 30.5)),
                        ('um', (25, 5.125, 27.5, 7.625))):
        cells = spatialdata.transform(data['cells'], to_coordinate_system=system)
        assert cells.geometry[2].equals(shapely.box(*box))
    found = spatialdata.bounding_box_query(
        data, axes=('x', 'y'), min_coordinate=[90, 0], max_coordinate=[120, 50],
        target_coordinate_system='global')
    assert found['cells'].index.tolist() == [2]
    assert found['cells_table'].obs['cell_id'].tolist() == [2]


def test_embeddings_become_float32(spatialdata, tmp_path):
    """Over two row groups, the second of which starts anew with 0."""
    bands = [squares([(0, 0), (50, 50)], embedding=3), squares([(90, 9)], embedding=3)]
    table = export(
        spatialdata, write(tmp_path / 'cells.parquet', bands))['cells_table']
    assert table.obsm['embedding'].dtype == np.float32
    assert table.obsm['embedding'].tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    assert 'embedding' not in table.var_names


@pytest.mark.parametrize('bands', [[], [squares([], embedding=3)]])
def test_without_cells_there_is_an_empty_table(spatialdata, tmp_path, image, bands):
    data = export(
        spatialdata, write(tmp_path / 'cells.parquet', bands), image[0])
    table = data['cells_table']
    assert len(table) == 0 and table.obsm['spatial'].shape == (0, 2)
    assert table.obs['class'].cat.categories.tolist() == ['immune', 'tumour']
    assert table.var_names[0] == 'score'
    assert 'cells' not in data and data['picture'].shape == (3, *INFO.shape)
    if bands:
        assert table.obsm['embedding'].shape == (0, 3)


def test_image_is_halved_and_lies_under_the_cells(
        spatialdata, parquet, image, monkeypatch):
    monkeypatch.setattr(spatialdata_export, 'CHUNK', CHUNK)
    path, pixels = image
    found = export(spatialdata, parquet, path)['picture']
    levels = [found[name]['image'] for name in ('scale0', 'scale1', 'scale2')]
    assert len(found.children) == 3 and levels[2].shape == (3, 175, 225)
    assert levels[0].coords['c'].values.tolist() == ['r', 'g', 'b']
    assert np.array_equal(levels[0].transpose('y', 'x', 'c'), pixels)
    half = levels[1].transpose('y', 'x', 'c').values.astype(int)
    assert np.abs(half - halve(pixels)).max() <= 1  # the mean is cut, not rounded
    # The centre of pixel (x 100, y 20) is half a pixel from its corner.
    assert levels[0].sel(x=100.5, y=20.5).values.tolist() == pixels[20, 100].tolist()
    for system, mpp in (('global', 1), ('um', 0.25)):
        extent = spatialdata.get_extent(found, coordinate_system=system)
        assert extent == dict(x=(0, 900 * mpp), y=(0, 700 * mpp))


def test_image_is_read_chunk_by_chunk_and_not_before_it_is_used(
        spatialdata, parquet, image, monkeypatch):
    monkeypatch.setattr(spatialdata_export, 'CHUNK', CHUNK)
    read, sizes = SlideReader.read, []

    def spy(self, level, x, y, width, height):
        sizes.append((level, width, height))
        return read(self, level, x, y, width, height)

    monkeypatch.setattr(SlideReader, 'read', spy)
    data = to_spatialdata(parquet, image[0])
    assert not sizes
    data.write(parquet.with_name('cells.zarr'))
    assert len(sizes) == 3 * 4  # each once, for all levels
    assert max(sizes) == (0, CHUNK, CHUNK) and sum(
        width * height for _, width, height in sizes) == 700 * 900


def test_a_part_of_a_slide_lies_under_the_cells_that_are_counted_from_it(
        spatialdata, tmp_path):
    pixels = color_field(*INFO.shape)
    slide = write_scn(tmp_path / 'slide.scn', pixels, (64, 32))
    info = replace(INFO, origin=(64, 32))
    data = to_spatialdata(write(tmp_path / 'cells.parquet', info=info), slide)
    np.testing.assert_array_equal(
        data['picture'].transpose('y', 'x', 'c').values, pixels)
    with pytest.raises(ValueError, match='but the cells of .* were found on'):
        to_spatialdata(
            write(tmp_path / 'other.parquet', info=replace(info, origin=(1, 1))), slide)


def other_image(tmp_path, parquet):
    cv2.imwrite(str(tmp_path / 'slide.png'), np.zeros((90, 70, 3), np.uint8))


def text_file(tmp_path, parquet):
    parquet.write_text('cell_id, geometry')


def saved_by_others(tmp_path, parquet):
    table = pq.read_table(parquet)
    pq.write_table(table.replace_schema_metadata(dict(geo='{}')), parquet)


def other_columns(tmp_path, parquet):
    pq.write_table(pa.table(dict(x=[1], y=[2])), parquet)


def no_file(tmp_path, parquet):
    parquet.unlink()


def existing_output(tmp_path, parquet):
    (tmp_path / 'cells.zarr').write_text('mine')


@pytest.mark.parametrize('damage, message', [
    (other_image, 'slide.png: 70 x 90 px, but .* found on 900 x 700 px'),
    (text_file, 'cells.parquet: is not Parquet, .* expected a file that tools'),
    (saved_by_others, r'cells.parquet: .* metadata keys \[geo\]; expected a file'),
    (other_columns, r'has the columns x, y and the metadata keys \[\]; expected'),
    (no_file, 'cells.parquet'),
    (existing_output, 'cells.zarr: exists already; delete it or choose another'),
    (None, 'slide.png: level 0 cannot be read')])
def test_what_is_wrong_is_named_and_nothing_is_written(
        spatialdata, tmp_path, parquet, image, monkeypatch, damage, message):
    if damage:
        damage(tmp_path, parquet)
    else:  # while the store is written
        error = UnreadableError('slide.png: level 0 cannot be read')
        monkeypatch.setattr(SlideReader, 'read', mock.Mock(side_effect=error))
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ValueError, OSError), match=message):
        export_spatialdata(parquet, tmp_path / 'cells.zarr', image[0])
    assert sorted(tmp_path.iterdir()) == before
