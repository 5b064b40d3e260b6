# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from coloured_nuclei import CLASSES, write_pictures

from mmseg_cellvta.datasets import CellFolderDataset
from mmseg_cellvta.engine.cell_classifier_training import CellTokenDataset, TokenCache


@pytest.fixture
def pictures(tmp_path):
    """Config of two pictures, whose five nuclei are in the cache beside them."""
    write_pictures(tmp_path, ['a_1', 'a_2'])
    config = dict(type='CellFolderDataset', data_root=str(tmp_path))
    dataset = CellFolderDataset(data_root=str(tmp_path))
    cache = TokenCache(tmp_path / 'tokens')
    for index, labels in enumerate(([1, 2, 1], [1, 1])):
        tokens = np.full((len(labels), 4), index, np.float32)
        cache.save(dataset.get_data_info(index), tokens, np.array(labels))
    return config, str(tmp_path / 'tokens')


def test_nuclei_of_all_pictures_are_samples(pictures):
    dataset = CellTokenDataset(*pictures)
    assert len(dataset) == 5 and dataset.metainfo['classes'] == list(CLASSES)
    sample = dataset[3]
    np.testing.assert_array_equal(sample['tokens'], [1, 1, 1, 1])
    assert [dataset[i]['labels'] for i in range(5)] == [1, 2, 1, 1, 1]


def test_weights_make_the_classes_count_the_same(pictures):
    dataset = CellTokenDataset(*pictures)
    assert dataset.class_weight() == pytest.approx([5 / (2 * 4), 5 / (2 * 1)])
    dataset.labels[:] = 1
    assert dataset.class_weight() == [1, 0]  # the other class never occurs


def test_without_tokens_the_tool_is_named(pictures, tmp_path):
    with pytest.raises(ValueError, match='tools/train_cell_classifier.py'):
        CellTokenDataset(pictures[0])
    with pytest.raises(FileNotFoundError, match='a_1-'):
        CellTokenDataset(pictures[0], str(tmp_path / 'nowhere'))


def test_no_nucleus_at_all_points_to_the_segmentor(pictures, tmp_path):
    dataset = CellFolderDataset(data_root=str(tmp_path))
    for index in range(2):
        TokenCache(pictures[1]).save(
            dataset.get_data_info(index), np.zeros((0, 4)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match='in 2 pictures no detected nucleus'):
        CellTokenDataset(*pictures)
