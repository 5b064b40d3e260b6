# Copyright (c) CellVTA-MMSeg contributors.
import pytest
from slide_files import write_dicom

from mmseg_cellvta.slides.dicom_header import is_dicom, read_series

pytest.importorskip('pydicom', reason='the extra "slides" is missing')


@pytest.mark.parametrize('implicit', [False, True])
def test_the_series_of_a_slide(tmp_path, implicit):
    path = write_dicom(tmp_path / 'a', '1.2.3', implicit=implicit)
    assert is_dicom(path) and read_series(path) == '1.2.3'


@pytest.mark.parametrize('content', [
    b'', b'no slide', bytes(132), bytes(1000), bytes(128) + b'DICM',
    bytes(128) + b'DICM' + bytes(1000), bytes(128) + b'DICM' + b'\xff' * 1000])
def test_other_files_have_no_series(tmp_path, content):
    path = tmp_path / 'a'
    path.write_bytes(content)
    assert read_series(path) is None
    assert is_dicom(path) == (content[128:132] == b'DICM')


@pytest.mark.parametrize('series, options', [
    ('1.2', dict(kind='1.2.840.10008.5.1.4.1.1.2')), ('', {})])
def test_what_is_no_slide_or_does_not_name_its_series(tmp_path, series, options):
    path = write_dicom(tmp_path / 'a', series, **options)
    assert is_dicom(path) and read_series(path) is None


def test_a_cut_header_has_another_series_or_none(tmp_path):
    path = write_dicom(tmp_path / 'a', '1.2.3')
    whole = path.read_bytes()
    for length in range(132, len(whole) - 1):  # behind the UID there is one empty byte
        path.write_bytes(whole[:length])
        assert read_series(path) != '1.2.3'


def test_a_real_slide(shared_dir):
    files = sorted((shared_dir / 'cases/dicom').glob('*.dcm'))
    if not files:
        pytest.skip('no DICOM slide in ../shared')
    series, = {read_series(path) for path in files}
    openslide = pytest.importorskip('openslide')
    with openslide.OpenSlide(str(files[0])) as slide:
        assert series == slide.properties['dicom.SeriesInstanceUID']
