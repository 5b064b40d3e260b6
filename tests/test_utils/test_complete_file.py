# Copyright (c) CellVTA-MMSeg contributors.
import pytest

from mmseg_cellvta.utils.files import complete_file


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'cells.geojson.gz'
    with complete_file(path) as part:
        part.write_text('cells')
        assert not path.exists() and part.suffixes[-2:] == ['.geojson', '.gz']
    assert path.read_text() == 'cells'
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_older_file_stays(tmp_path):
    path = tmp_path / 'cells.csv'
    path.write_text('old')
    with pytest.raises(OSError, match='disk full'), complete_file(path) as part:
        part.write_text('half')
        raise OSError('disk full')
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]
