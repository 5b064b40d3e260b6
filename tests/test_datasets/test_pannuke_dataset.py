# Copyright (c) CellVTA-MMSeg contributors.
import csv

import numpy as np
import pytest

from mmseg_cellvta.datasets import CoNICDataset, PanNukeCellDataset

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]


def write_rows(folder, rows):
    with open(folder / 'patch_info.csv', 'w', newline='') as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def root(tmp_path):
    """Folds 1 and 3 with two patches each, as the converter writes them."""
    rng = np.random.default_rng(0)
    for fold in (1, 3):
        folder = tmp_path / f'fold{fold}'
        folder.mkdir()
        np.save(folder / 'images.npy',
                rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
        labels = np.zeros((2, 32, 32, 2), np.uint16)
        labels[0, 2:8, 4:12] = 1, 5
        labels[0, 20:30, 4:12] = 300, 4
        np.save(folder / 'labels.npy', labels)
        write_rows(folder, [['patch_info', 'tissue'], [f'fold{fold}_0000', 'Breast'],
                            [f'fold{fold}_0001', 'Bile-duct']])
    return tmp_path


def test_sample_is_bgr_with_both_maps_tissue_and_name(root):
    dataset = PanNukeCellDataset(
        data_root=str(root), folds=[3, 1], pipeline=PIPELINE)
    assert len(dataset) == 4
    sample = dataset[2]
    rgb = np.load(root / 'fold1' / 'images.npy')[0]
    np.testing.assert_array_equal(sample['img'], rgb[..., ::-1])
    assert np.unique(sample['gt_inst_map']).tolist() == [0, 1, 300]
    assert np.unique(sample['gt_seg_map']).tolist() == [0, 4, 5]
    assert (sample['sample_name'], sample['mpp'], sample['tissue']) == (
        'fold1_0000', 0.25, 'Breast')
    names = [dataset.get_data_info(index)['sample_name'] for index in range(4)]
    assert names == ['fold3_0000', 'fold3_0001', 'fold1_0000', 'fold1_0001']
    assert dataset[1]['tissue'] == 'Bile-duct'
    assert [dataset.get_data_info(index)['nuclei_per_class'] for index in (2, 3)] == [
        [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]


def test_colours_are_distinct_and_those_of_conic_for_similar_cells():
    meta, conic = PanNukeCellDataset.METAINFO, CoNICDataset.METAINFO
    assert meta['classes'] == ('background', 'neoplastic', 'inflammatory',
                               'connective', 'dead', 'epithelial')
    assert len({tuple(colour) for colour in meta['palette']}) == 6
    for name in ('background', 'connective', 'epithelial'):
        assert (meta['palette'][meta['classes'].index(name)]
                == conic['palette'][conic['classes'].index(name)])


def test_absent_fold_names_the_converter(root):
    with pytest.raises(FileNotFoundError, match='fold2: no such folder.*pannuke.py'):
        PanNukeCellDataset(data_root=str(root), folds=[1, 2])


@pytest.mark.parametrize(('tissue', 'message'), [
    ('', 'fold3/patch_info.csv: fold3_0001 has no tissue'),
    ('bile-duct', "tissue 'bile-duct' is there twice .also as 'Bile-duct'"),
    ('Breast ', "tissue 'Breast ' is there twice")])
def test_tissues_that_cannot_be_told_apart_are_refused(root, tissue, message):
    write_rows(root / 'fold3', [['patch_info', 'tissue'], ['fold3_0000', 'Breast'],
                                ['fold3_0001', tissue]])
    with pytest.raises(ValueError, match=message):
        PanNukeCellDataset(data_root=str(root), folds=[1, 3])


def test_names_without_tissue_are_an_error(root):
    write_rows(root / 'fold1', [['patch_info'], ['a'], ['b']])
    with pytest.raises(ValueError, match=r'fold1/patch_info\.csv: no column tissue'):
        PanNukeCellDataset(data_root=str(root), folds=[1])


@pytest.mark.parametrize('folds', [[], [0], [4], [1, 1], 1, '1', ['1']])
def test_wrong_folds_are_an_error(root, folds):
    with pytest.raises(ValueError, match=r'folds=.*such as \[1\]'):
        PanNukeCellDataset(data_root=str(root), folds=folds)
