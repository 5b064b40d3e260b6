# Copyright (c) CellVTA-MMSeg contributors.
import io
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from cell_tables import INFO, squares
from PIL import Image

from mmseg_cellvta.exports.cell_statistics import grid_shape
from mmseg_cellvta.exports.html_report import (
    density,
    encode_color_bar,
    encode_map,
    round_up,
    write_report,
)

CHROMIUM = shutil.which('chromium')
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason='no chromium to open the page')


def write(path, tables):
    def read_crop(x, y, size):
        return np.full((size, size, 3), 200, np.uint8)

    thumbnail = np.full((70, 90, 3), 230, np.uint8)
    write_report(path, INFO, iter(tables), thumbnail, read_crop)
    return path.read_text(encoding='utf-8')


@pytest.fixture
def tables():
    corners = np.random.default_rng(0).uniform(0, 600, (40, 2)).round()
    return [squares(corners[:25]), squares([]), squares(corners[25:])]


def test_the_page_needs_no_other_file_and_counts_every_cell(tmp_path, tables):
    page = write(tmp_path / 'report.html', tables)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert '<html lang=' in page and '>40 nuclei<' in page.replace('</strong>', '<')
    # Of 25 and 15 cells in classes by turns, 13 + 8 are of the first.
    rows = re.findall(r'<tr>.*?</tr>', page, flags=re.DOTALL)
    immune, tumour = (next(row for row in rows if name in row)
                      for name in ('immune', 'tumour'))
    assert '>21<' in immune and '>19<' in tumour


def test_equal_cells_make_equal_pages(tmp_path, tables):
    pages = [write(tmp_path / name, tables) for name in ('a.html', 'b.html')]
    assert pages[0] == pages[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.html', 'b.html']


def test_a_slide_without_cells_has_a_page(tmp_path):
    assert '0 nuclei' in write(tmp_path / 'report.html', [squares([])])


def test_of_a_class_without_nuclei_only_the_table_speaks(tmp_path, tables):
    cells = tables[0]
    page = write(tmp_path / 'report.html', [cells.select(cells.labels == 1)])
    assert page.count('data-class="immune"') == 2  # map and colour bar
    assert 'data-class="tumour"' not in page
    assert page.count('immune</figcaption>') == 1
    assert page.count('tumour') == page.count('tumour</th><td>0<') == 1


def browse(folder, fragment, *options):
    """What a browser prints of report.html in the folder."""
    return subprocess.run(
        [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
         '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync',
         f'--user-data-dir={folder / "browser"}', *options,
         f'file://{folder}/report.html{fragment}'],
        capture_output=True, text=True, timeout=120).stdout


@needs_chromium
def test_a_browser_chooses_the_class_in_the_address(tmp_path, tables):
    write(tmp_path / 'report.html', tables)
    assert 'data-shown="all"' in browse(tmp_path, '', '--dump-dom')
    for name in ('immune', 'tumour'):
        page = browse(tmp_path, f'#class={name}', '--dump-dom')
        assert f'data-shown="{name}"' in page


@needs_chromium
def test_the_map_is_to_be_seen_where_the_nuclei_are(tmp_path):
    """Immune cells on the left, tumour cells on the right of a grey slide."""
    corners = [(x, y) for y in range(100, 600, 20) for x in (100, 800)]
    write(tmp_path / 'report.html', [squares(corners)])
    places = {}
    for name in ('immune', 'tumour', 'all'):
        path = tmp_path / f'{name}.png'
        browse(tmp_path, f'#class={name}', f'--screenshot={path}',
               '--window-size=700,500')
        picture = cv2.imread(str(path)).astype(int)
        colored = np.nonzero(np.ptp(picture, axis=2) > 30)[1]
        assert len(colored) > 5000
        places[name] = colored.mean()
    assert places['immune'] + 100 < places['all'] < places['tumour'] - 100


def decode(content):
    """RGBA pixels, (H, W, 4) int."""
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGBA')).astype(int)


def test_bins_are_as_fine_as_a_nucleus_or_as_the_page():
    assert grid_shape((700, 900), 0.25) == (18, 22)  # 10 µm
    assert grid_shape((40000, 80000), 0.25) == (250, 500)  # 1/500 of the longer side


def test_evenly_spread_nuclei_have_one_density_up_to_the_border():
    values = density(np.full((30, 40), 2), bin_mm2=1e-4)
    assert values == pytest.approx(2e4)


def test_smoothing_far_from_the_border_keeps_the_number_of_nuclei():
    counts = np.zeros((101, 101), int)
    counts[50, 50] = 7
    assert density(counts, bin_mm2=1e-4).sum() * 1e-4 == pytest.approx(7, rel=1e-3)


@pytest.mark.parametrize('value, top', [
    (0, 1), (0.9, 1), (1, 1), (1.2, 1.5), (16, 20), (2999, 3000), (3001, 5000),
    (7100, 10000)])
def test_the_scale_ends_with_a_round_number(value, top):
    assert round_up(value) == pytest.approx(top)


def test_a_map_is_transparent_where_there_is_nothing_and_never_hides_the_tissue():
    alpha = decode(encode_map(np.array([[0.0, 25, 100, 300]]), top=100))[0, :, 3]
    assert alpha[0] == 0 and alpha[1] > 80
    assert alpha[2] == alpha[3] == round(0.8 * 255)


def test_colours_run_without_steps_and_are_no_stain():
    """A step would look like a border; hematoxylin and eosin are redder than green."""
    colors = decode(encode_color_bar())[0]
    assert np.abs(np.diff(colors, axis=0)).max() <= 4
    low = colors[:len(colors) // 2]
    assert (low[:, 1] > low[:, 0] + 40).all()
