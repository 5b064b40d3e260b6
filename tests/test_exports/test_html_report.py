# Copyright (c) CellVTA-MMSeg contributors.
import io
import re
import shutil
import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest
from cell_tables import INFO, squares
from PIL import Image

from mmseg_cellvta.exports.html_report import (
    draw_area_histogram,
    draw_cell,
    encode_map,
    round_up,
    write_report,
)

CHROMIUM = shutil.which('chromium')
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason='no chromium to open the page')


def read_crop(x, y, size):
    return np.full((size, size, 3), 200, np.uint8)


def write(path, tables, info=INFO):
    thumbnail = np.full((70, 90, 3), 230, np.uint8)
    write_report(path, info, iter(tables), thumbnail, read_crop)
    return path.read_text(encoding='utf-8')


@pytest.fixture
def tables():
    corners = np.random.default_rng(0).uniform(0, 600, (40, 2)).round()
    return [squares(corners[:25]), squares([]), squares(corners[25:])]


def test_the_page_needs_no_other_file_and_counts_every_cell(tmp_path, tables):
    page = write(tmp_path / 'report.html', tables)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert '<html lang=' in page and '>40 nuclei<' in page.replace('</strong>', '<')
    assert page.count('<img ') == len(re.findall('<img [^>]*alt="[^"]', page))
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


def test_names_are_escaped(tmp_path, tables):
    info = replace(INFO, name='a<b>', classes=('background', '$name "1" & <i>', 'x'))
    page = write(tmp_path / 'report.html', tables, info)
    assert 'a<b>' not in page and '<h1>a&lt;b&gt;</h1>' in page
    assert '<i>' not in page and '$name &quot;1&quot; &amp; &lt;i&gt;' in page


def test_a_class_without_nuclei_is_in_the_table_only(tmp_path, tables):
    cells = tables[0]
    page = write(tmp_path / 'report.html', [cells.select(cells.labels == 1)])
    assert page.count('data-class="immune"') == 2  # map and colour bar
    assert 'data-class="tumour"' not in page
    assert page.count('immune</figcaption>') == 1
    assert page.count('tumour') == page.count('tumour</th><td>0<') == 1


def browse(folder, fragment, *options):
    """Returns what a browser prints of report.html in the folder."""
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
def test_the_map_is_seen_where_the_nuclei_are(tmp_path):
    """Immune cells on the left, tumour cells on the right of a grey slide."""
    corners = [(x, y) for y in range(100, 600, 20) for x in (100, 800)]
    write(tmp_path / 'report.html', [squares(corners)])
    places = {}
    for name in ('immune', 'tumour', 'all'):
        path = tmp_path / f'{name}.png'
        browse(tmp_path, f'#class={name}', f'--screenshot={path}',
               '--window-size=700,500')
        screen = cv2.imread(str(path)).astype(int)
        colored = np.nonzero(np.ptp(screen, axis=2) > 30)[1]
        assert len(colored) > 5000
        places[name] = colored.mean()
    assert places['immune'] + 100 < places['all'] < places['tumour'] - 100


def decode(content):
    """Returns RGBA pixels, (H, W, 4) int."""
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGBA')).astype(int)


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
    colors = decode(encode_map(np.arange(256)[None], top=255))[0]
    assert np.abs(np.diff(colors, axis=0)).max() <= 4
    low = colors[:len(colors) // 2]
    assert (low[:, 1] > low[:, 0] + 40).all()


@pytest.mark.parametrize('mpp, side', [(0.25, 288), (0.5, 240), (0.1, 240)])
def test_a_cell_is_outlined_in_the_middle_of_its_surroundings(mpp, side):
    cells = squares([(1000, 2000)], side=8 / mpp)  # 8 µm
    read = []

    def spy(x, y, size):
        read.append((x, y))
        return read_crop(x, y, size)

    crop = draw_cell(
        tuple(cells.centroids[0]), cells.outlines[0], mpp, (220, 30, 20), spy)
    assert read == [(int(1000 + 4 / mpp), int(2000 + 4 / mpp))]
    assert crop.shape == (side, side, 3)
    px_per_um = side / 24
    rows, cols = np.nonzero((crop == (220, 30, 20)).all(axis=2))
    for places in (rows, cols):
        assert [places.min(), places.max()] == pytest.approx(
            [8 * px_per_um, 16 * px_per_um], abs=3)
    _, cols = np.nonzero((crop == 0).all(axis=2))
    assert np.ptp(cols) + 1 == pytest.approx(10 * px_per_um, abs=1)  # scale bar


def test_the_highest_bar_of_a_histogram_is_that_of_the_most_frequent_area():
    bins = np.zeros(40, int)
    bins[10], bins[30] = 30, 10  # 50 and 150 µm²
    chart = decode(draw_area_histogram(bins, (220, 30, 20)))[..., :3]
    heights = (chart == (220, 30, 20)).all(axis=2).sum(axis=0)
    first, second = np.split(heights, [len(heights) * 5 // 9])
    assert first.max() == pytest.approx(3 * second.max(), rel=0.05)
