# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.inference.band_store import BandStore
from mmseg_cellvta.structures import CellTable


def cells(num):
    ring = np.array([(0, 0), (1, 0), (1, 1), (0, 0)], float)
    return CellTable(
        np.full((num, 2), 0.5), np.ones(num, int), np.ones(num, np.float32),
        np.ones((num, 2), np.float32), [ring] * num)


def test_bands_that_are_missing_are_told_as_runs(tmp_path):
    store = BandStore(tmp_path / 'slide.bands', dict(tile=256), lambda: 4)
    assert store.missing(range(5)) == [range(0, 5)]
    for band in (0, 3):
        store.save(band, cells(band))
    again = BandStore(tmp_path / 'slide.bands', dict(tile=256), lambda: 4)
    assert again.missing(range(5)) == [range(1, 3), range(4, 5)]
    assert again.missing(range(3, 4)) == []
    assert [len(table) for table in again.load([0, 3])] == [0, 3]
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_batch_size_of_the_first_run_stays(tmp_path):
    assert BandStore(tmp_path / 'slide.bands', {}, lambda: 4).batch_size == 4
    assert BandStore(tmp_path / 'slide.bands', {}, lambda: 8).batch_size == 4


def test_bands_of_other_settings_are_refused(tmp_path):
    BandStore(tmp_path / 'slide.bands', dict(tile=256), lambda: 4)
    with pytest.raises(FileExistsError, match='slide.bands.part.*tile=256, now 512'):
        BandStore(tmp_path / 'slide.bands', dict(tile=512), lambda: 4)
