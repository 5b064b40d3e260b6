# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.datasets import CoNSePDataset

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]


def test_images_come_in_natural_order(make_consep):
    dataset = CoNSePDataset(data_root=str(make_consep([1])))
    names = [dataset.get_data_info(i)['sample_name'] for i in range(len(dataset))]
    assert names == ['train_1', 'train_2', 'train_10']


def test_indices_select_images(make_consep):
    dataset = CoNSePDataset(data_root=str(make_consep([1])), indices=[2])
    assert len(dataset) == 1
    assert dataset.get_data_info(0)['sample_name'] == 'train_10'


def test_four_classes_stay_as_they_are(make_consep):
    sample = CoNSePDataset(data_root=str(make_consep([1, 2, 3, 4])),
                           pipeline=PIPELINE)[0]
    assert sample['gt_seg_map'][8, ::8].tolist() == [1, 2, 3, 4, 0, 0, 0, 0]
    assert sample['gt_inst_map'][8, ::8].tolist()[:5] == [1000, 1001, 1002, 1003, 0]
    assert sample['mpp'] == 0.275


def test_seven_classes_are_merged(make_consep):
    sample = CoNSePDataset(data_root=str(make_consep(range(1, 8))),
                           pipeline=PIPELINE)[0]
    assert sample['gt_seg_map'][8, ::8].tolist() == [1, 2, 3, 3, 4, 4, 4, 0]


def test_one_original_file_makes_the_whole_folder_original(make_consep):
    make_consep([7], names=['train_1'])
    root = make_consep([4], names=['train_2'])
    sample = CoNSePDataset(data_root=str(root), pipeline=PIPELINE)[1]
    # Class 4 is malignant epithelial in the original labels.
    assert sample['gt_seg_map'].max() == 3


def test_real_folder_holds_27_images_and_4_classes(shared_dir):
    root = shared_dir / 'data' / 'CoNSeP' / 'Train'
    dataset = CoNSePDataset(data_root=str(root), pipeline=PIPELINE,
                            indices=list(range(22, 27)))
    assert [dataset.get_data_info(i)['sample_name'] for i in (0, 4)] == [
        'train_23', 'train_27']
    sample = dataset[0]
    assert sample['img'].shape == (1000, 1000, 3)
    assert sample['gt_inst_map'].max() > 255
    assert set(np.unique(sample['gt_seg_map'])) <= {0, 1, 2, 3, 4}


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='Images: no such folder'):
        CoNSePDataset(data_root=str(tmp_path))


def test_empty_folder_is_named(tmp_path):
    (tmp_path / 'Images').mkdir()
    with pytest.raises(ValueError, match='Images: no .png file'):
        CoNSePDataset(data_root=str(tmp_path))


def test_missing_label_file_is_named(make_consep):
    root = make_consep([1])
    (root / 'Labels' / 'train_2.mat').unlink()
    with pytest.raises(FileNotFoundError, match='train_2.mat'):
        CoNSePDataset(data_root=str(root))


def test_unknown_class_is_found_when_the_dataset_is_built(make_consep):
    root = make_consep([9])
    with pytest.raises(ValueError, match=r'train_1.mat: class id 9 \(instance 1000\)'):
        CoNSePDataset(data_root=str(root))
