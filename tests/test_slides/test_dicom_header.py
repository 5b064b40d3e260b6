# Copyright (c) CellVTA-MMSeg contributors.
import pytest
from slide_files import dicom_element, write_dicom

from mmseg_cellvta.slides.dicom_header import HEADER_END, is_dicom, read_series

ITEM, SEQUENCE, ITEM_END, SEQUENCE_END = (
    0xFFFEE000, 0x00081115, 0xFFFEE00D, 0xFFFEE0DD)


def delimiter(tag, value=b'', undefined=False):
    return dicom_element(tag, b'', value, implicit=True, undefined=undefined)


def sequence(defined_item, defined_sequence, implicit=False):
    """A sequence with one item, in which there is a series too."""
    inside = dicom_element(0x0020000E, b'UI', b'9.99', implicit)
    item = delimiter(ITEM, inside) if defined_item else (
        delimiter(ITEM, inside, undefined=True) + delimiter(ITEM_END))
    if not defined_sequence:
        item += delimiter(SEQUENCE_END)
    return dicom_element(SEQUENCE, b'SQ', item, implicit, not defined_sequence)


@pytest.mark.parametrize('implicit', [False, True])
@pytest.mark.parametrize('defined_item', [False, True])
@pytest.mark.parametrize('defined_sequence', [False, True])
def test_the_series_is_that_of_the_file_itself(
        tmp_path, implicit, defined_item, defined_sequence):
    before = dicom_element(0x00080005, b'CS', b'ISO_IR 192', implicit) + sequence(
        defined_item, defined_sequence, implicit) + dicom_element(
        0x00082111, b'LO', b'x' * 200, implicit)
    path = write_dicom(tmp_path / 'a', '1.2.3', implicit=implicit, before=before)
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


def test_a_cut_or_endless_header_has_no_series(tmp_path):
    path = write_dicom(tmp_path / 'a', '1.2.3', before=sequence(False, False))
    whole = path.read_bytes()
    for length in range(132, len(whole)):
        path.write_bytes(whole[:length])
        assert read_series(path) is None
    write_dicom(path, '1.2.3', before=dicom_element(
        SEQUENCE, b'SQ', bytes(HEADER_END) + delimiter(SEQUENCE_END), undefined=True))
    assert read_series(path) is None


def test_a_real_slide(shared_dir):
    files = sorted((shared_dir / 'cases/dicom').glob('*.dcm'))
    if not files:
        pytest.skip('no DICOM slide in ../shared')
    series, = {read_series(path) for path in files}
    openslide = pytest.importorskip('openslide')
    with openslide.OpenSlide(str(files[0])) as slide:
        assert series == slide.properties['dicom.SeriesInstanceUID']
