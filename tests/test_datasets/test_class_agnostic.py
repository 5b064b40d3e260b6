# Copyright (c) CellVTA-MMSeg contributors.
"""Data sets whose nuclei are all called 'nucleus'."""
import numpy as np
import pytest
from coloured_nuclei import write_pictures

from mmseg_cellvta.datasets import CellFolderDataset, CoNICDataset, CoNSePDataset

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
OPTIONS = dict(pipeline=PIPELINE, class_agnostic=True)


def check(dataset, nuclei):
    assert dataset.metainfo['classes'] == ('background', 'nucleus')
    assert len(dataset.metainfo['palette']) == 2
    assert dataset.get_data_info(0)['nuclei_per_class'] == [nuclei]
    sample = dataset[0]
    np.testing.assert_array_equal(sample['gt_seg_map'], sample['gt_inst_map'] > 0)


def test_conic(conic_dir):
    check(CoNICDataset(data_root=str(conic_dir), **OPTIONS), 2)


@pytest.mark.parametrize('classes', [[1, 2, 3, 4], range(1, 8)])
def test_consep_merged_or_as_published(make_consep, classes):
    dataset = CoNSePDataset(data_root=str(make_consep(classes)), **OPTIONS)
    check(dataset, len(classes))


def test_a_folder_of_ones_own(tmp_path):
    write_pictures(tmp_path, ['a'])
    check(CellFolderDataset(data_root=str(tmp_path), num_classes=2, **OPTIONS), 4)


def test_a_class_outside_the_list_is_still_an_error(make_consep):
    with pytest.raises(ValueError, match='class id 9'):
        CoNSePDataset(data_root=str(make_consep([9])), **OPTIONS)
