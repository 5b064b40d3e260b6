# Copyright (c) CellVTA-MMSeg contributors.
import json

import cv2
import numpy as np
import pytest
from coloured_nuclei import write_pictures
from scipy.io import savemat

from mmseg_cellvta.datasets import CellFolderDataset, CoNICDataset, CoNSePDataset
from mmseg_cellvta.datasets.labels import read_labels

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
CLASSES = ['background', 'tumour', 'other']
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 255, 0]]
OPTIONS = dict(pipeline=PIPELINE, class_agnostic=True)


@pytest.fixture
def folder(tmp_path):
    """Pictures a_1, a_2 and a_10, each of another size, with two nuclei."""
    for name in ('Images', 'Labels'):
        (tmp_path / name).mkdir()
    for name, side in dict(a_1=30, a_2=40, a_10=50).items():
        labels = np.zeros((side, 60, 2), np.int32)
        labels[2:8, 2:8] = 70000, 1
        labels[12:18, 2:8] = 5, 2
        np.save(tmp_path / f'Labels/{name}.npy', labels)
        image = np.full((side, 60, 3), (10, 20, 30), np.uint8)
        cv2.imwrite(str(tmp_path / f'Images/{name}.png'), image)
    write_info(tmp_path, classes=CLASSES, palette=PALETTE, mpp=0.3)
    return tmp_path


def write_info(folder, **info):
    (folder / 'dataset.json').write_text(json.dumps(info))


def build(folder, **settings):
    return CellFolderDataset(data_root=str(folder), pipeline=PIPELINE, **settings)


def names_of(dataset):
    return [dataset.get_data_info(i)['sample_name'] for i in range(len(dataset))]


def test_folder_says_classes_colours_and_resolution(folder):
    dataset = build(folder)
    assert dataset.metainfo['classes'] == CLASSES
    assert dataset.metainfo['palette'] == PALETTE
    assert dataset[0]['mpp'] == 0.3 and dataset[0]['tissue'] is None


def test_pictures_of_different_sizes_keep_their_labels(folder):
    samples = list(build(folder))
    assert [sample['img'].shape for sample in samples] == [
        (30, 60, 3), (40, 60, 3), (50, 60, 3)]
    for sample in samples:
        assert sample['gt_inst_map'].dtype == np.int32
        assert np.unique(sample['gt_inst_map']).tolist() == [0, 5, 70000]
        assert (sample['gt_seg_map'][sample['gt_inst_map'] == 5] == 2).all()


def test_entries_count_the_nuclei_of_each_class(folder):
    assert build(folder).get_data_info(0)['nuclei_per_class'] == [1, 1]


def test_resolution_and_names_of_classes_can_be_given(folder):
    renamed = ['background', 'Tumour cell', 'other']
    dataset = build(folder, mpp=0.5, metainfo=dict(classes=renamed))
    assert dataset[0]['mpp'] == 0.5
    assert dataset.metainfo['classes'] == renamed
    assert dataset.metainfo['palette'] == PALETTE


@pytest.mark.parametrize('classes', [
    ['background', 'tumour'], ['background', 'other', 'tumour']])
def test_classes_cannot_be_left_out_or_moved(folder, classes):
    with pytest.raises(ValueError, match='dataset.json: lists the classes'):
        build(folder, metainfo=dict(classes=classes, palette=PALETTE[:len(classes)]))


def test_another_number_of_classes_than_the_model_has_is_refused(folder):
    assert len(build(folder, num_classes=3)) == 3
    with pytest.raises(ValueError, match='3 classes, background, tumour, other, but '
                       'the config says num_classes=2; set num_classes=3'):
        build(folder, num_classes=2)


def test_all_pictures_come_in_natural_order(folder):
    assert names_of(build(folder)) == ['a_1', 'a_2', 'a_10']


def test_list_picks_pictures(folder):
    (folder / 'train.txt').write_text('a_10\n\na_2\n')
    assert names_of(build(folder, ann_file='train.txt')) == ['a_2', 'a_10']


@pytest.mark.parametrize(('text', 'message'), [
    ('a_1\na_3\n', "train.txt, line 2: no image 'a_3'"),
    ('a_1\na_2\na_1\n', "train.txt, line 3: 'a_1' is already in line 1; remove"),
    ('\n', 'train.txt: names no image')])
def test_wrong_list_is_named_with_its_line(folder, text, message):
    (folder / 'train.txt').write_text(text)
    with pytest.raises(ValueError, match=message):
        build(folder, ann_file='train.txt')


def test_missing_list_is_named(folder):
    with pytest.raises(FileNotFoundError, match='val.txt: no such file; it lists'):
        build(folder, ann_file='val.txt')


def test_mat_labels_are_read_too(folder):
    labels = np.load(folder / 'Labels/a_2.npy')
    (folder / 'Labels/a_2.npy').unlink()
    savemat(folder / 'Labels/a_2.mat',
            dict(inst_map=labels[..., 0], type_map=labels[..., 1]))
    sample = build(folder)[1]
    assert (sample['gt_inst_map'] == labels[..., 0]).all()
    assert (sample['gt_seg_map'] == labels[..., 1]).all()


def test_folder_without_description_needs_classes_and_resolution(folder):
    (folder / 'dataset.json').unlink()
    metainfo = dict(classes=CLASSES, palette=PALETTE)
    assert len(build(folder, mpp=0.5, metainfo=metainfo)) == 3
    for incomplete in (dict(mpp=0.5), dict(metainfo=metainfo)):
        with pytest.raises(ValueError, match='dataset.json: no such file'):
            build(folder, **incomplete)


def test_one_class_is_enough(folder):
    write_info(folder, classes=['background', 'nucleus'], palette=PALETTE[:2], mpp=1)
    for path in (folder / 'Labels').iterdir():
        np.save(path, np.minimum(np.load(path), [70000, 1]))
    assert build(folder)[0]['gt_seg_map'].max() == 1


@pytest.mark.parametrize(('change', 'message'), [
    (dict(classes=['tumour', 'other']), r'expected a list of "background"'),
    (dict(classes='tumour'), r'expected a list of "background"'),
    (dict(palette=PALETTE[:2]), 'for each of the 3 classes'),
    (dict(mpp=0), 'mpp 0; expected'),
    (dict(mpp='40x'), 'mpp 40x; expected')])
def test_impossible_description_is_named(folder, change, message):
    write_info(folder, **{**dict(classes=CLASSES, palette=PALETTE, mpp=0.3), **change})
    with pytest.raises(ValueError, match=f'dataset.json: .*{message}'):
        build(folder)


@pytest.mark.parametrize(('text', 'message'), [
    ('{"classes": ', 'not JSON'), ('[]', 'holds no classes and no palette and no mpp')])
def test_damaged_description_is_named(folder, text, message):
    (folder / 'dataset.json').write_text(text)
    with pytest.raises(ValueError, match=f'dataset.json: {message}'):
        build(folder)


def test_missing_label_is_named(folder):
    (folder / 'Labels/a_2.npy').unlink()
    with pytest.raises(FileNotFoundError, match='a_2.npy: no such label file, and no '
                       'a_2.mat'):
        build(folder)


@pytest.mark.parametrize('labels', [
    np.zeros((40, 60), np.int32), np.zeros((40, 60, 2), np.float32)])
def test_label_of_another_layout_is_named(folder, labels):
    np.save(folder / 'Labels/a_2.npy', labels)
    with pytest.raises(ValueError, match=r'a_2.npy: .*expected integer \(H, W, 2\)'):
        build(folder)


def test_class_outside_the_list_is_found_when_the_dataset_is_built(folder):
    labels = np.load(folder / 'Labels/a_2.npy')
    labels[12:18, 2:8, 1] = 3
    np.save(folder / 'Labels/a_2.npy', labels)
    with pytest.raises(ValueError, match=r'a_2.npy: class id 3 \(instance 5\)'):
        build(folder)


def test_label_of_another_size_is_named_when_it_is_loaded(folder):
    np.save(folder / 'Labels/a_2.npy', np.zeros((40, 61, 2), np.int32))
    dataset = build(folder)
    with pytest.raises(ValueError, match=r'a_2.npy: \(40, 61\) \(rows, columns\) px, '
                       r'its picture \(40, 60\)'):
        dataset[1]


def test_labels_stay_on_disk(folder):
    inst_map, _ = read_labels(str(folder / 'Labels/a_2.npy'))
    assert isinstance(inst_map, np.memmap) and not inst_map.flags.writeable


def test_converted_consep_is_read_by_its_own_dataset(folder):
    classes = list(CoNSePDataset.METAINFO['classes'])
    write_info(folder, classes=classes, palette=CoNSePDataset.METAINFO['palette'],
               mpp=0.25)
    (folder / 'train.txt').write_text('a_2\n')
    dataset = CoNSePDataset(data_root=str(folder), ann_file='train.txt',
                            pipeline=PIPELINE)
    assert (dataset[0]['mpp'], dataset[0]['tissue']) == (0.25, 'Colon')
    assert (dataset[0]['gt_seg_map'][12:18, 2:8] == 2).all()


def test_folder_of_other_classes_is_refused_by_the_consep_dataset(folder):
    with pytest.raises(ValueError, match='dataset.json: lists the classes'):
        CoNSePDataset(data_root=str(folder))


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
