# Copyright (c) CellVTA-MMSeg contributors.
import builtins
import sys

import numpy as np
import pytest
import tifffile
from slide_files import color_field

from mmseg_cellvta.slides import open_slide

IMAGE = color_field(60, 90)
# name: (shape, µm/px, downsamples) of real files
REAL = {
    'wsi/CMU-1-Small-Region.svs': ((2967, 2220), 0.499, (1.0,)),
    'wsi/tcga-cr-7395-01a-01-ts1.svs': ((3567, 4443), None, (1.0, 2.0)),
    'wsi/instanseg_HE_example.tif': ((1484, 1380), 0.5, (1.0,)),
    'wsi/openslide-python_boxes.tiff': ((250, 300), None, (1.0, 2.0, 4.0, 8.0)),
    'monusac_sample/A9K0_1.svs': ((1153, 1307), 0.1945, (1.0,)),
}
UNREADABLE = ['openslide-python_unopenable.tiff', 'openslide-python_unreadable.svs']


@pytest.fixture(params=['both', 'tiffslide'])
def libraries(request, monkeypatch):
    """Installed slide libraries."""
    pytest.importorskip('tiffslide')
    if request.param == 'both':
        pytest.importorskip('openslide')
    else:
        hide(monkeypatch, 'openslide')


def hide(monkeypatch, *libraries: str) -> None:
    """Make libraries as if they were not installed."""
    real_import = builtins.__import__

    def import_rest(name, *args, **kwargs):
        if name.split('.')[0] in libraries:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    for library in libraries:
        module = f'mmseg_cellvta.slides.{library}_reader'
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, '__import__', import_rest)


@pytest.mark.parametrize('name', REAL)
def test_real_slides_are_read(shared_dir, libraries, name):
    shape, mpp, downsamples = REAL[name]
    reader = open_slide(shared_dir / 'data' / name)
    assert reader.is_slide and reader.shape == shape
    assert reader.level_downsamples == downsamples
    assert reader.mpp == (mpp and pytest.approx(mpp, rel=2e-3))
    corner = reader.read(0, -2, -2, 12, 12)
    assert (corner[:2] == 255).all() and corner.shape == (12, 12, 3)


def test_both_libraries_read_the_same(shared_dir):
    from mmseg_cellvta.slides.openslide_reader import OpenSlideReader
    from mmseg_cellvta.slides.tiffslide_reader import TiffSlideReader
    path = shared_dir / 'data/wsi/CMU-1-Small-Region.svs'
    readers = OpenSlideReader(path), TiffSlideReader(path)
    first, second = (r.read(0, 700, 900, 400, 300).astype(int) for r in readers)
    assert np.abs(first - second).max() <= 4 and first.std() > 20


@pytest.mark.parametrize('name', UNREADABLE)
def test_unreadable_slides_are_named_with_the_reason(shared_dir, libraries, name):
    reason = r'\((Bogus marker length|.*52479)'
    with pytest.raises(ValueError, match=f'{name}: .*{reason}'):
        open_slide(shared_dir / 'data/wsi' / name)


@pytest.mark.parametrize('name', ['a.svs', 'a.tif'])
def test_missing_libraries_are_named_with_the_command(tmp_path, monkeypatch, name):
    hide(monkeypatch, 'openslide', 'tiffslide')
    (tmp_path / name).write_bytes(b'II*\0 damaged')
    with pytest.raises(ValueError, match=rf'{name}: neither .*pip install'):
        open_slide(tmp_path / name)
    tifffile.imwrite(tmp_path / 'plain.tif', IMAGE)
    assert open_slide(tmp_path / 'plain.tif').shape == (60, 90)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='a.svs: no such file'):
        open_slide(tmp_path / 'a.svs')


def test_sixteen_bit_slide_is_refused(tmp_path, libraries):
    path = tmp_path / 'a.ome.tif'
    tifffile.imwrite(path, IMAGE.astype(np.uint16), photometric='rgb', tile=(16, 16))
    with pytest.raises(ValueError, match='a.ome.tif: 16 bits .*expected RGB or grey'):
        open_slide(path)
