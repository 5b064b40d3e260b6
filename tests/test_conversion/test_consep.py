# Copyright (c) CellVTA-MMSeg contributors.
import shutil

import numpy as np
import pytest
from own_data import write_image
from rich.progress import Progress
from scipy.io import loadmat, savemat

from mmseg_cellvta.conversion.consep import convert_consep, find_consep
from mmseg_cellvta.conversion.writers import Tiling
from mmseg_cellvta.datasets import CoNSePDataset

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
WHOLE = Tiling()


def write_part(folder, names, classes, inst_type=None):
    """Images of 40 x 60 px with one 8 x 8 px nucleus per given class."""
    (folder / 'Labels').mkdir(parents=True, exist_ok=True)
    maps = np.zeros((2, 40, 60))
    for i, class_id in enumerate(classes):
        maps[:, 5:13, 8 * i:8 * i + 8] = np.reshape([1000 + i, class_id], (2, 1, 1))
    types = np.array(classes if inst_type is None else inst_type, float)[:, None]
    for name in names:
        write_image(folder / f'Images/{name}.png')
        savemat(folder / f'Labels/{name}.mat', dict(
            inst_map=maps[0], type_map=maps[1], inst_type=types))


@pytest.fixture
def source(tmp_path):
    """Both parts with the 7 original classes."""
    write_part(tmp_path / 'CoNSeP/Train', ['train_1', 'train_2', 'train_10'],
               range(1, 8))
    write_part(tmp_path / 'CoNSeP/Test', ['test_1'], [1, 2, 3, 4])
    return tmp_path / 'CoNSeP'


def convert(source, out, tiling=WHOLE):
    with Progress(disable=True) as progress:
        return convert_consep(source, out, tiling, progress)


def test_both_parts_are_converted_and_merged_alike(source, tmp_path):
    summary, remarks = convert(source, tmp_path / 'out')
    assert remarks == ['the 7 original classes were merged to 4']
    assert summary.images == dict(train=3, test=1)
    # The test part alone could be taken for merged labels.
    assert summary.nuclei['test'].tolist() == [1, 1, 2, 0]
    assert summary.nuclei['train'].tolist() == [3, 3, 6, 9]


def test_dataset_reads_the_same_from_both_layouts(source, tmp_path):
    convert(source, tmp_path / 'out')
    original = CoNSePDataset(data_root=str(source / 'Train'), pipeline=PIPELINE)
    converted = CoNSePDataset(
        data_root=str(tmp_path / 'out'), ann_file='train.txt', pipeline=PIPELINE)
    assert original.metainfo['classes'] == tuple(converted.metainfo['classes'])
    for before, after in zip(original, converted, strict=True):
        assert before['sample_name'] == after['sample_name']
        assert (before['mpp'], before['tissue']) == (after['mpp'], after['tissue'])
        assert (before['img'] == after['img']).all()
        assert (before['gt_seg_map'] == after['gt_seg_map']).all()
        assert before['nuclei_per_class'] == after['nuclei_per_class']
        pairs = np.stack([before['gt_inst_map'], after['gt_inst_map']], -1)
        assert len(np.unique(pairs.reshape(-1, 2), axis=0)) == 8


def test_merged_labels_stay_as_they_are(tmp_path):
    write_part(tmp_path / 'Train', ['train_1'], [1, 2, 3, 4, 4])
    summary, remarks = convert(tmp_path, tmp_path / 'out')
    assert summary.nuclei['train'].tolist() == [1, 1, 1, 2] and remarks == []


def test_one_part_is_enough(source, tmp_path):
    assert {image.part for image in find_consep(source / 'Train')} == {'train'}
    assert {image.part for image in find_consep(source / 'Test')} == {'test'}
    convert(source / 'Test', tmp_path / 'out')
    assert (tmp_path / 'out/test.txt').read_text() == 'test_1\n'
    assert not (tmp_path / 'out/train.txt').exists()


def test_tiles_are_read_by_the_dataset(source, tmp_path):
    convert(source, tmp_path / 'out', Tiling(32, 8))
    dataset = CoNSePDataset(data_root=str(tmp_path / 'out'), ann_file='test.txt',
                            pipeline=PIPELINE)
    assert len(dataset) == 6 and dataset[0]['img'].shape == (32, 32, 3)


def test_list_of_types_must_agree_with_the_maps(source, tmp_path):
    write_part(source / 'Test', ['test_1'], [1, 2, 3, 4], inst_type=[1, 2, 3, 3])
    with pytest.raises(ValueError, match=r'test_1.mat: the maps hold \[1, 1, 1, 1, 0, '
                       r'0, 0\] .* inst_type lists \[1, 1, 2, 0, 0, 0, 0\]'):
        convert(source, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_labels_without_list_of_types_are_read(source, tmp_path):
    savemat(source / 'Test/Labels/test_1.mat', dict(
        inst_map=np.zeros((40, 60)), type_map=np.zeros((40, 60))))
    assert convert(source, tmp_path / 'out')[0].empty['test'] == 1


def test_real_labels_come_through(shared_dir, tmp_path):
    source = shared_dir / 'data' / 'CoNSeP'
    summary, _ = convert(source, tmp_path / 'out')
    types = np.concatenate([loadmat(path)['inst_type'].ravel().astype(int)
                            for path in source.glob('*/Labels/*.mat')])
    merged = np.array([0, 1, 2, 3, 3, 4, 4, 4])[types] if types.max() > 4 else types
    assert sum(summary.nuclei.values()).tolist() == (
        np.bincount(merged, minlength=5)[1:].tolist())


@pytest.mark.parametrize(('gone', 'message'), [
    ('Train/Labels/train_2.mat', 'train_2.mat: no such label file'),
    ('Test/Images/test_1.png', 'Images: no .png file in it'),
    ('Train/Images/train_10.png', 'train_10.mat: no image train_10.png in .*Images'),
    ('', 'holds neither Train nor Test')])
def test_missing_files_are_named(source, tmp_path, gone, message):
    shutil.rmtree(source) if not gone else (source / gone).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        convert(source, tmp_path / 'out')


def test_an_image_of_one_name_in_both_parts_is_not_lost(source, tmp_path):
    for name in ('Images/train_2.png', 'Labels/train_2.mat'):
        shutil.copy(source / 'Train' / name, source / 'Test' / name)
    with pytest.raises(ValueError, match="several images, the first is 'train_2'"):
        convert(source, tmp_path / 'out')
