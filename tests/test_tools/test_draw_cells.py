# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from cell_tables import INFO, squares
from run_tool import run_tool
from slide_files import write_scn, write_slide

from mmseg_cellvta.exports import GeoJsonWriter

BROWN = 150, 140, 90  # neither of text nor of cells
IMMUNE, TUMOUR = INFO.palette[1:]


@pytest.fixture
def files(tmp_path):
    """A brown image of 60 x 80 px with cells from (10, 20) and from (50, 30) px."""
    cv2.imwrite(str(tmp_path / 'brown.png'), brown(60, 80)[..., ::-1])
    for suffix in ('.geojson', '.geojson.gz'):
        with GeoJsonWriter(tmp_path / f'brown{suffix}', INFO) as writer:
            writer.write(squares([(10, 20), (50, 30)]))
    return tmp_path


def brown(height, width):
    return np.full((height, width, 3), BROWN, np.uint8)


def draw(folder, *args, image='brown.png', cells='brown.geojson', out='out.png'):
    return run_tool('analysis_tools/draw_cells.py', folder / image, folder / cells,
                    folder / out, *args)


def drawing(folder):
    """Returns the drawing without title and legend: as far as the image's colour."""
    sheet = cv2.imread(str(folder / 'out.png'))[..., ::-1]
    rows, cols = np.nonzero((sheet == BROWN).all(axis=2))
    return sheet[rows.min():rows.max() + 1, cols.min():cols.max() + 1]


def extent(image, color):
    """Returns left, top, right and lower border of a colour, px; lines: up to 3 px."""
    rows, cols = np.nonzero((image == color).all(axis=2))
    return [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]


def test_cells_are_outlined_in_their_colours_where_they_are(files):
    assert draw(files) == 0
    image = drawing(files)
    assert image.shape == (60, 80, 3)
    assert extent(image, IMMUNE) == pytest.approx([10, 20, 20, 30], abs=2)
    assert extent(image, TUMOUR) == pytest.approx([50, 30, 60, 40], abs=2)
    assert (image[23:27, 13:17] == BROWN).all()


def test_a_window_is_enlarged_and_leaves_other_cells_out(files):
    assert draw(files, '--window', 45, 25, 20, 25, '--width', 80) == 0
    image = drawing(files)
    assert image.shape == (100, 80, 3)
    assert extent(image, TUMOUR) == pytest.approx([20, 20, 60, 60], abs=2)
    assert not (image == IMMUNE).all(axis=2).any()


def test_a_slide_is_drawn_smaller(files):
    write_slide(files / 'brown.tif', brown(512, 640), levels=2)
    assert draw(files, '--width', 320, image='brown.tif') == 0
    image = drawing(files)
    assert image.shape == (256, 320, 3)
    assert extent(image, TUMOUR) == pytest.approx([25, 15, 30, 20], abs=2)


def test_cells_that_are_counted_from_the_bounds_lie_where_they_are(files):
    write_scn(files / 'brown.scn', brown(60, 80), (30, 40))
    place = '--window', 30, 40, 80, 60
    assert draw(files, '--origin', 'bounds', *place, image='brown.scn') == 0
    image = drawing(files)
    assert extent(image, IMMUNE) == pytest.approx([10, 20, 20, 30], abs=2)


def test_the_legend_has_the_colour_of_every_class_of_the_file(files):
    draw(files, '--window', 70, 0, 10, 10, '--width', 200)
    sheet = cv2.imread(str(files / 'out.png'))[..., ::-1]
    for color in (IMMUNE, TUMOUR):
        assert (sheet == color).all(axis=2).sum() > 50


def test_a_compressed_file_is_drawn_alike(files):
    draw(files)
    plain = (files / 'out.png').read_bytes()
    draw(files, cells='brown.geojson.gz')
    assert (files / 'out.png').read_bytes() == plain


@pytest.mark.parametrize('content', [
    'no JSON', '{"type": "FeatureCollection"}',
    '{"features": [{"geometry": {"coordinates": []}, "properties": {}}]}'])
def test_a_file_without_cells_is_named(files, content):
    (files / 'other.geojson').write_text(content)
    message = draw(files, cells='other.geojson')
    assert 'other.geojson: no cells' in message and 'tools/infer.py' in message


@pytest.mark.parametrize('options, files_given, message', [
    (['--window', 0, 0, 0, 5], {}, 'expected width and height of 1 or more'),
    (['--width', 0], {}, '--width 0: expected 1 or more'),
    ([], dict(image='none.png'), 'none.png: no such file'),
    ([], dict(cells='none.geojson'), 'none.geojson: no such file'),
    ([], dict(out='none/out.png'), 'there is no folder')])
def test_wrong_arguments_are_named(files, capsys, options, files_given, message):
    assert draw(files, *options, **files_given) == 2
    assert message in capsys.readouterr().err
