# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections import Counter

import pytest
from slide_files import write_dicom

from mmseg_cellvta.slides import inputs, list_inputs, result_name, slide_files


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


def unreadable(path):
    raise PermissionError(13, 'Permission denied', str(path))


@pytest.mark.parametrize('kept', ['b.dcm', 'b.vms'])
def test_what_cannot_be_read_is_left_out_or_fails_alone(tmp_path, monkeypatch, kept):
    for name in ('a.png', kept, 'no_suffix'):
        (tmp_path / name).touch()
    (tmp_path / 'broken').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    monkeypatch.setattr('builtins.open', lambda path, *_: unreadable(path))
    monkeypatch.setattr('io.open', lambda path, *_: unreadable(path))
    found = list_inputs([tmp_path])
    assert names(found) == ['a.png', kept]
    assert found.left_out == [
        f'{tmp_path}/no_suffix: left out, cannot be read (Permission denied)']
    assert slide_files(tmp_path / kept) == [tmp_path / kept]


def test_a_folder_that_cannot_be_read_fails_alone(folder, monkeypatch):
    monkeypatch.setattr(type(folder), 'iterdir', unreadable)
    found = list_inputs([folder / 'a_10.svs', folder / 'inner'])
    assert names(found) == ['a_10.svs']
    assert str(found.missing[str(folder / 'inner')]) == (
        f'{folder}/inner: cannot be read (Permission denied); check its permissions')


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
def series(tmp_path):
    """Files of two DICOM slides, and one that is no slide."""
    for name, uid in {'1.dcm': '1.2', '2.dcm': '1.2', 'without_suffix': '1.2',
                      '3.dcm': '1.3'}.items():
        write_dicom(tmp_path / name, uid)
    write_dicom(tmp_path / 'other.dcm', '1.2', kind='1.2.840.10008.5.1.4.1.1.2')
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


def note_calls(calls, function):
    def noted(path):
        calls[path] += 1
        return function(path)
    return noted


def test_no_header_is_read_more_often_in_a_full_folder(tmp_path, monkeypatch):
    for number in range(30):
        write_dicom(tmp_path / f'{number}.dcm', f'1.{number // 3}')
        write_dicom(tmp_path / f'x{number}', f'2.{number // 3}')
    read = Counter()
    for name in ('is_dicom', 'read_series'):
        monkeypatch.setattr(inputs, name, note_calls(read, getattr(inputs, name)))
    found = list_inputs([tmp_path])
    assert len(found.paths) == 20 and len(found.left_out) == 20
    assert set(read.values()) == {1, 2} and len(read) == 60


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
