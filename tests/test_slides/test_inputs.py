# Copyright (c) CellVTA-MMSeg contributors.
import os
import sys
from types import SimpleNamespace

import pytest

from mmseg_cellvta.slides import inputs, list_inputs, result_name, slide_files

DICOM = bytes(128) + b'DICM'


@pytest.fixture
def folder(tmp_path):
    for name in ('a_10.svs', 'a_2.PNG', 'a_010.svs', 'b.ome.tif', 'notes.csv',
                 '.hidden.png', 'inner/c.png', 'inner/deep/d.tif'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(found):
    return [path.name for path in found.paths]


@pytest.mark.parametrize(('given', 'expected'), [
    ([''], ['a_2.PNG', 'a_010.svs', 'a_10.svs', 'b.ome.tif']),
    (['a_*'], ['a_2.PNG', 'a_010.svs', 'a_10.svs']),
    (['**'], ['a_2.PNG', 'a_010.svs', 'a_10.svs', 'b.ome.tif', 'c.png', 'd.tif']),
    (['**/*.tif'], ['b.ome.tif', 'd.tif']),
    (['inner/**/*.*'], ['c.png', 'd.tif']),
    # A file is taken as it is, and each once.
    (['notes.csv', 'b.ome.tif', '', 'b.ome.tif'],
     ['notes.csv', 'b.ome.tif', 'a_2.PNG', 'a_010.svs', 'a_10.svs'])])
def test_files_folders_and_patterns_in_natural_order(folder, given, expected):
    assert names(list_inputs([folder / source for source in given])) == expected


@pytest.mark.parametrize('suffix', [
    '.qptiff', '.btf', '.tf8', '.tf2', '.TIFF', '.jpe', '.svslide', '.bif'])
def test_what_the_readers_open_is_found(tmp_path, suffix):
    (tmp_path / f'a{suffix}').touch()
    assert names(list_inputs([tmp_path])) == [f'a{suffix}']


def test_what_is_left_out_is_said(folder):
    found = list_inputs([folder])
    assert found.left_out == [
        f'{folder}: left out what is no image or slide (1 .csv)']
    assert list_inputs([folder / 'a_2.PNG']).left_out == []


@pytest.mark.parametrize('source', ['*.ndpi', 'missing.svs', 'empty', '**/*.czi'])
def test_a_missing_path_fails_alone(folder, source):
    (folder / 'empty').mkdir()
    found = list_inputs([folder / 'a_10.svs', folder / source, folder / 'b.ome.tif'])
    assert names(found) == ['a_10.svs', 'b.ome.tif']
    error = found.missing[str(folder / source)]
    assert str(error).startswith(f'{folder / source}: no image or slide there')


def test_files_whose_results_would_share_a_name_are_refused(folder):
    (folder / 'inner/a_10.tif').touch()
    with pytest.raises(ValueError, match=r'a_10.svs and .*inner/a_10.tif: the results'):
        list_inputs([folder, folder / 'inner'])


@pytest.mark.parametrize('output', [
    'x_overlay.png', 'x_labels.ome.tiff', 'x_spaceranger.tiff'])
@pytest.mark.parametrize('given', ['', '*', '{output}'])
def test_what_an_earlier_run_wrote_is_no_input(tmp_path, output, given):
    for name in ('x.png', 'other_overlay.png', output, 'x_summary.json'):
        (tmp_path / name).touch()
    found = list_inputs([tmp_path / given.format(output=output), tmp_path / 'x.png'])
    assert output not in names(found) and 'x.png' in names(found)
    # One's own picture may have such a name.
    assert ('other_overlay.png' in names(found)) == (given != '{output}')
    said = [str(error) for error in found.missing.values()] + found.left_out
    assert any(output in sentence or 'earlier run wrote' in sentence
               for sentence in said)


def test_parts_of_a_slide_are_no_inputs(tmp_path):
    (tmp_path / 'a.vms').write_text(
        '[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=a.jpg\n'
        'ImageFile(1,0)=a(1,0).jpg\nMapFile=a_map2.jpg\nMacroImage=\n')
    for name in ('a.jpg', 'a(1,0).jpg', 'a_map2.jpg', 'photo.jpg'):
        (tmp_path / name).write_text(name)
    found = list_inputs([tmp_path])
    assert sorted(names(found)) == ['a.vms', 'photo.jpg']
    assert any('a.jpg' in said and 'belong to this slide' in said
               for said in found.left_out)
    assert [path.name for path in slide_files(tmp_path / 'a.vms')] == [
        'a.vms', 'a.jpg', 'a(1,0).jpg', 'a_map2.jpg']


@pytest.fixture
def series(tmp_path, monkeypatch):
    """Files of two DICOM slides, and one that is no slide."""
    series = {'1.dcm': 'A', '2.dcm': 'A', 'without_suffix': 'A', '3.dcm': 'B',
              'other.dcm': None}
    for name in series:
        (tmp_path / name).write_bytes(DICOM)
    monkeypatch.setattr(inputs, '_dicom_series', lambda path: series[path.name])
    return tmp_path


def test_a_dicom_slide_of_several_files_is_one_input(series):
    found = list_inputs([series])
    assert names(found) == ['1.dcm', '3.dcm', 'other.dcm']
    assert found.left_out == [
        f'{series}/1.dcm: 2.dcm, without_suffix belong to this slide']
    assert names(list_inputs([series / '2.dcm', series / '1.dcm'])) == ['2.dcm']
    assert [path.name for path in slide_files(series / '2.dcm')] == [
        '1.dcm', '2.dcm', 'without_suffix']
    assert slide_files(series / 'other.dcm') == [series / 'other.dcm']


def test_a_real_dicom_slide_is_one_input(shared_dir):
    pytest.importorskip('openslide')
    folder = shared_dir / 'cases/dicom'
    if not folder.is_dir():
        pytest.skip('no DICOM slide in ../shared')
    found = list_inputs([folder])
    assert names(found) == ['DCM_0.dcm'] and 'DCM_1.dcm' in found.left_out[0]
    assert len(slide_files(folder / 'DCM_1.dcm')) == 3


def test_the_series_is_what_openslide_says(tmp_path, monkeypatch):
    class OpenSlideError(Exception):
        pass

    class Slide(SimpleNamespace):
        def __init__(self, path):
            if 'bad' in path:
                raise OpenSlideError
            super().__init__(properties={'dicom.SeriesInstanceUID': '1.2'})

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *error: None  # noqa: E731

    monkeypatch.setitem(sys.modules, 'openslide', SimpleNamespace(
        OpenSlide=Slide, OpenSlideError=OpenSlideError))
    assert inputs._dicom_series(tmp_path / 'a.dcm') == '1.2'
    assert inputs._dicom_series(tmp_path / 'bad.dcm') is None
    monkeypatch.setitem(sys.modules, 'openslide', None)
    assert inputs._dicom_series(tmp_path / 'a.dcm') is None


def test_a_mirax_slide_is_its_folder_too(tmp_path):
    (tmp_path / 'a').mkdir()
    for name in ('a.mrxs', 'a/Slidedat.ini', 'a/Data0000.dat'):
        (tmp_path / name).touch()
    assert [path.name for path in slide_files(tmp_path / 'a.mrxs')] == [
        'a.mrxs', 'Data0000.dat', 'Slidedat.ini']


def test_names_of_old_systems_become_text(tmp_path):
    latin = os.fsdecode('café'.encode('latin-1') + b'.png')
    assert result_name(tmp_path / latin) == result_name(tmp_path / 'café.png') == 'café'
    for name in (latin, 'café.png'):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match='would be called café'):
        list_inputs([tmp_path])
