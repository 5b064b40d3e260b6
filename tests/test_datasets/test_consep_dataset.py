# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.datasets import CoNSePDataset
from mmseg_cellvta.datasets.labels import write_info

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]


def build(root, **settings):
    return CoNSePDataset(data_root=str(root), pipeline=PIPELINE, **settings)


def test_indices_select_images_in_natural_order(make_consep):
    dataset = build(make_consep([1]), indices=[1, 2])
    assert [dataset.get_data_info(i)['sample_name'] for i in range(2)] == [
        'train_2', 'train_10']


def test_four_classes_stay_as_they_are(make_consep):
    sample = build(make_consep([1, 2, 3, 4]))[0]
    assert sample['gt_seg_map'][8, ::8].tolist() == [1, 2, 3, 4, 0, 0, 0, 0]
    assert sample['gt_inst_map'][8, ::8].tolist()[:5] == [1000, 1001, 1002, 1003, 0]
    assert sample['mpp'] == 0.275


def test_seven_classes_are_merged(make_consep):
    sample = build(make_consep(range(1, 8)))[0]
    assert sample['gt_seg_map'][8, ::8].tolist() == [1, 2, 3, 3, 4, 4, 4, 0]


def test_one_original_file_makes_the_whole_folder_original(make_consep):
    make_consep([7], names=['train_1'])
    sample = build(make_consep([4], names=['train_2']))[1]
    # Class 4 is malignant epithelial in the original labels.
    assert sample['gt_seg_map'].max() == 3


def test_a_converted_folder_says_its_resolution_and_keeps_its_classes(make_consep):
    root = make_consep([1, 2, 3, 4])
    meta = CoNSePDataset.METAINFO
    write_info(root, meta['classes'], meta['palette'], 0.25)
    sample = build(root)[0]
    assert (sample['mpp'], sample['tissue']) == (0.25, 'Colon')
    write_info(root, ['background', 'other'], meta['palette'][:2], 0.25)
    with pytest.raises(ValueError, match='dataset.json: lists the classes'):
        build(root)


def test_real_folder_holds_27_images_and_4_classes(shared_dir):
    root = shared_dir / 'data' / 'CoNSeP' / 'Train'
    dataset = build(root, indices=list(range(22, 27)))
    assert [dataset.get_data_info(i)['sample_name'] for i in (0, 4)] == [
        'train_23', 'train_27']
    sample = dataset[0]
    assert sample['img'].shape == (1000, 1000, 3)
    assert sample['gt_inst_map'].max() > 255
    assert set(np.unique(sample['gt_seg_map'])) <= {0, 1, 2, 3, 4}
