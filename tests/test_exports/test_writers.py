# Copyright (c) CellVTA-MMSeg contributors.
"""What all writers have in common."""
import tracemalloc

import numpy as np
import pytest
from cell_tables import BANDS, INFO, squares

from mmseg_cellvta.exports import FORMATS


def write(name, folder, bands, info=INFO):
    suffix, writer_class = FORMATS[name]
    path = folder / f'{info.name}{suffix}'
    with writer_class(path, info) as writer:
        for band in bands:
            writer.write(band)
        assert not path.exists()
    return path


@pytest.mark.parametrize('name', FORMATS)
def test_equal_cells_make_equal_files_and_nothing_else(name, tmp_path):
    paths = []
    for folder in (tmp_path / 'one', tmp_path / 'two'):
        folder.mkdir()
        paths.append(write(name, folder, BANDS))
        assert list(folder.iterdir()) == paths[-1:]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize('name', FORMATS)
def test_after_an_error_there_is_no_file(name, tmp_path):
    def broken():
        yield BANDS[0]
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        write(name, tmp_path, broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('bands', [[], [squares([])]])
def test_a_slide_without_cells_has_a_file_too(name, bands, tmp_path):
    assert write(name, tmp_path, bands).stat().st_size > 0


@pytest.mark.parametrize('name', FORMATS)
def test_memory_does_not_follow_the_number_of_cells(name, tmp_path):
    corners = np.random.default_rng(0).uniform(0, 600, (500, 2))
    band = squares(np.round(corners))

    def peak(num_bands):
        tracemalloc.start()
        write(name, tmp_path, (band for _ in range(num_bands))).unlink()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    assert peak(12) < 1.3 * peak(3) + 2**18
