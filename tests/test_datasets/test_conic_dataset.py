# Copyright (c) CellVTA-MMSeg contributors.
import json
import pickle
import re

import numpy as np
import pytest

from mmseg_cellvta.datasets import CoNICDataset
from mmseg_cellvta.datasets.conic_dataset import PAPER_TEST_SOURCES

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]


def names_of(**kwargs):
    dataset = CoNICDataset(**kwargs)
    return [dataset.get_data_info(i)['sample_name'] for i in range(len(dataset))]


def test_sample_is_bgr_with_both_maps_and_ids_above_255(conic_dir):
    sample = CoNICDataset(data_root=str(conic_dir), pipeline=PIPELINE)[3]
    rgb = np.load(conic_dir / 'images.npy')[3]
    np.testing.assert_array_equal(sample['img'], rgb[..., ::-1])
    assert sample['gt_inst_map'].dtype == np.int32
    assert np.unique(sample['gt_inst_map']).tolist() == [0, 1, 300]
    assert np.unique(sample['gt_seg_map']).tolist() == [0, 2, 6]
    assert sample['seg_fields'] == ['gt_inst_map', 'gt_seg_map']
    assert (sample['sample_name'], sample['mpp'], sample['tissue']) == (
        'a_2-0001', 0.5, 'Colon')


def test_pickled_dataset_reads_the_same(conic_dir):
    dataset = CoNICDataset(data_root=str(conic_dir), pipeline=PIPELINE)
    content = pickle.dumps(dataset)
    assert len(content) < 20_000  # the arrays stay on disk
    np.testing.assert_array_equal(pickle.loads(content)[0]['img'], dataset[0]['img'])


def test_split_follows_source_images(conic_dir):
    kwargs = dict(data_root=str(conic_dir), sources_file='sources.json')
    assert names_of(split='test', **kwargs) == ['b_1-0000', 'b_1-0001']
    train = names_of(split='train', **kwargs)
    assert {name.split('-')[0] for name in train} == {'a_1', 'a_2', 'b_2'}
    assert len(names_of(**kwargs)) == 8


def test_validation_share_is_grouped_disjoint_and_repeatable(conic_dir):
    kwargs = dict(data_root=str(conic_dir), sources_file='sources.json', val_share=0.34)
    train, val = (names_of(split=split, **kwargs) for split in ('train', 'val'))
    assert (len(train), len(val)) == (4, 2)
    assert not {n.split('-')[0] for n in train} & {n.split('-')[0] for n in val}
    assert names_of(split='val', **kwargs) == val


@pytest.mark.parametrize('split', [None, 'train', 'val', 'test'])
def test_cohorts_that_another_data_set_has_are_left_out(conic_dir, split):
    # The other cohort's patches stay in the split in which they were.
    kwargs = dict(data_root=str(conic_dir), sources_file='sources.json', split=split,
                  val_share=0.34)
    everything = names_of(**kwargs)
    cohort = 'a' if split in ('val', 'test') else 'b'
    kept = names_of(exclude_cohorts=[cohort], **kwargs)
    assert kept == [name for name in everything if not name.startswith(cohort)]
    if split is None:
        assert 0 < len(kept) < len(everything)


def test_paper_test_split_has_991_patches_of_51_sources():
    with open(PAPER_TEST_SOURCES) as file:
        sources = json.load(file)['sources']
    assert (len(sources), sum(sources.values())) == (51, 991)


def test_paper_test_split_is_the_default(conic_dir):
    names = ['consep_12-0000', *(f'consep_1-{i:04d}' for i in range(7))]
    (conic_dir / 'patch_info.csv').write_text('\n'.join(['patch_info', *names]) + '\n')
    assert names_of(data_root=str(conic_dir), split='test') == ['consep_12-0000']


def test_classes_match_conic_and_colours_differ():
    meta = CoNICDataset.METAINFO
    assert meta['classes'] == ('background', 'neutrophil', 'epithelial', 'lymphocyte',
                               'plasma', 'eosinophil', 'connective')
    assert len({tuple(colour) for colour in meta['palette']}) == 7


@pytest.mark.parametrize('name', ['images.npy', 'labels.npy', 'patch_info.csv'])
def test_missing_file_is_named(conic_dir, name):
    (conic_dir / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        CoNICDataset(data_root=str(conic_dir))


@pytest.mark.parametrize(('name', 'array', 'expected'), [
    ('images.npy', np.zeros((8, 32, 32, 3)), 'float64'),
    ('images.npy', np.zeros((8, 3, 32, 32), np.uint8), '(8, 3, 32, 32)'),
    ('images.npy', np.zeros((0, 32, 32, 3), np.uint8), 'holds no image'),
    ('labels.npy', np.zeros((8, 32, 32, 2), np.float32), 'dtype float32; expected'),
    ('labels.npy', np.zeros((7, 32, 32, 2), np.uint16),
     'shape (7, 32, 32, 2) does not match images.npy: 8 images'),
])
def test_wrong_array_is_named(conic_dir, name, array, expected):
    np.save(conic_dir / name, array)
    with pytest.raises(ValueError, match=f'{name}: .*{re.escape(expected)}'):
        CoNICDataset(data_root=str(conic_dir))


@pytest.mark.parametrize(('lines', 'message'), [
    (['patch_info', *map(str, range(5))], 'names 5 patches, images.npy holds 8'),
    (['patch_info', 'a', 'a', *map(str, range(6))],
     "1 names occur more than once, the first is 'a'"),
    (['name', 'a'], 'no column patch_info'),
])
def test_wrong_names_are_named(conic_dir, lines, message):
    (conic_dir / 'patch_info.csv').write_text('\n'.join(lines) + '\n')
    with pytest.raises(ValueError, match=message):
        CoNICDataset(data_root=str(conic_dir))


def test_wrong_label_is_found_when_the_dataset_is_built(conic_dir):
    labels = np.load(conic_dir / 'labels.npy')
    labels[5, 20, 4, 1] = 1
    np.save(conic_dir / 'labels.npy', labels)
    with pytest.raises(ValueError, match=re.escape(
            'labels.npy[5] (b_1-0001): instance 300 has the classes [1, 6]')):
        CoNICDataset(data_root=str(conic_dir))


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(split='val', sources_file='sources.json'),
     "no patch for split='val' among 8 patches of 4 source images"),
    (dict(split='test', sources_file='other.json'), 'other.json: no such file'),
    (dict(split='test', sources_file='wrong.json'), "wrong.json: no key 'sources'"),
    (dict(split='valid'), "split='valid': expected"),
    (dict(val_share=1.0), 'val_share=1.0: expected'),
    (dict(exclude_cohorts=['pannuke']),
     "names ['pannuke']; the patches are of ['a', 'b']"),
])
def test_wrong_argument_is_named(conic_dir, settings, message):
    (conic_dir / 'wrong.json').write_text('[]')
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        CoNICDataset(data_root=str(conic_dir), **settings)
