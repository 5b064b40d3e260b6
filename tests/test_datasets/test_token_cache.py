# Copyright (c) CellVTA-MMSeg contributors.
import os

import numpy as np
import pytest

from mmseg_cellvta.engine.cell_classifier_training import TokenCache


@pytest.fixture
def entry(tmp_path):
    for name in ('a.png', 'a.npy'):
        (tmp_path / name).write_bytes(b'1')
    return dict(sample_name='a', img_path=str(tmp_path / 'a.png'),
                label_path=str(tmp_path / 'a.npy'), num_classes=3)


def test_what_is_saved_comes_back_and_leaves_one_file(tmp_path, entry):
    cache = TokenCache(tmp_path / 'tokens')
    assert entry not in cache
    tokens, labels = np.eye(2, 3, dtype=np.float32), np.array([2, 1])
    cache.save(entry, tokens, labels)
    assert entry in cache
    for saved, loaded in zip((tokens, labels), cache.load(entry), strict=True):
        np.testing.assert_array_equal(loaded, saved)
        assert loaded.dtype == saved.dtype
    assert len(list((tmp_path / 'tokens').iterdir())) == 1


def test_a_changed_label_file_or_entry_is_another_picture(tmp_path, entry):
    cache = TokenCache(tmp_path)
    cache.save(entry, np.zeros((0, 3)), np.zeros(0, int))
    assert {**entry, 'num_classes': 2} not in cache
    os.utime(entry['label_path'], (1, 1))
    assert entry not in cache
