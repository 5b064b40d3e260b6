# Copyright (c) CellVTA-MMSeg contributors.
import pytest

from mmseg_cellvta.slides import list_inputs


@pytest.fixture
def folder(tmp_path):
    for name in ('a_10.svs', 'a_2.PNG', 'b.ome.tif', 'notes.csv', '.hidden.png',
                 'inner/c.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_folder_gives_its_own_files_in_natural_order(folder):
    assert names(list_inputs([folder])) == ['a_2.PNG', 'a_10.svs', 'b.ome.tif']


def test_files_come_as_given_and_once(folder):
    given = [folder / 'notes.csv', folder / 'b.ome.tif', folder, folder / 'b.ome.tif']
    assert names(list_inputs(given)) == [
        'notes.csv', 'b.ome.tif', 'a_2.PNG', 'a_10.svs']


def test_patterns(folder):
    assert names(list_inputs([str(folder / 'a_*')])) == ['a_2.PNG', 'a_10.svs']


@pytest.mark.parametrize('source', ['*.ndpi', 'missing.svs', 'empty'])
def test_nothing_found_names_the_source(folder, source):
    (folder / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no picture or slide there') as caught:
        list_inputs([folder / source])
    assert str(caught.value).startswith(f'{folder / source}: ')


def test_files_whose_results_would_share_a_name_are_refused(folder):
    (folder / 'inner/a_10.tif').touch()
    with pytest.raises(ValueError, match=r'a_10.svs and .*inner/a_10.tif: the results'):
        list_inputs([folder, folder / 'inner'])
