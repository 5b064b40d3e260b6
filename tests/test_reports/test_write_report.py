# Copyright (c) CellVTA-MMSeg contributors.
import re
import shutil
import subprocess

import numpy as np
import pytest
from cell_tables import INFO, squares

from mmseg_cellvta.reports import write_report

CHROMIUM = shutil.which('chromium')


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


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium to open the page')
def test_a_browser_shows_the_map_of_the_class_in_the_address(tmp_path, tables):
    write(tmp_path / 'report.html', tables)

    def dump(fragment):
        return subprocess.run(
            [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
             '--no-first-run', '--disable-background-networking',
             '--disable-component-update', '--disable-sync',
             f'--user-data-dir={tmp_path / "browser"}', '--dump-dom',
             f'file://{tmp_path}/report.html{fragment}'],
            capture_output=True, text=True, timeout=120).stdout

    whole, one = dump(''), dump('#class=tumour')
    assert '</html>' in whole and whole != one
