# Copyright (c) CellVTA-MMSeg contributors.
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mmseg_cellvta.datasets import CellFolderDataset, CoNICDataset, CoNSePDataset
from mmseg_cellvta.datasets.labels import write_info

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
CLASSES = ['background', 'tumour', 'other']
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 255, 0]]
INFO = dict(classes=CLASSES, palette=PALETTE, mpp=0.3)


@pytest.fixture
def folder(tmp_path):
    """Images a_1, a_2 and a_10, each of another size, with two nuclei."""
    root = tmp_path / 'folder'
    for name in ('Images', 'Labels'):
        (root / name).mkdir(parents=True)
    for name, side in dict(a_1=30, a_2=40, a_10=50).items():
        labels = np.zeros((side, 60, 2), np.int32)
        labels[2:8, 2:8] = 70000, 1
        labels[12:18, 2:8] = 5, 2
        np.save(root / f'Labels/{name}.npy', labels)
        image = np.full((side, 60, 3), (10, 20, 30), np.uint8)
        cv2.imwrite(str(root / f'Images/{name}.png'), image)
    write_info(root, **INFO)
    return root


def build(folder, **settings):
    return CellFolderDataset(data_root=str(folder), pipeline=PIPELINE, **settings)


def names_of(dataset):
    return [dataset.get_data_info(i)['sample_name'] for i in range(len(dataset))]


def test_folder_says_classes_colours_and_resolution(folder):
    dataset = build(folder)
    assert dataset.metainfo['classes'] == CLASSES
    assert dataset.metainfo['palette'] == PALETTE
    assert dataset[0]['mpp'] == 0.3 and dataset[0]['tissue'] is None
    assert dataset.get_data_info(0)['nuclei_per_class'] == [1, 1]


def test_images_of_different_sizes_come_in_natural_order_with_their_labels(folder):
    assert names_of(build(folder)) == ['a_1', 'a_2', 'a_10']
    samples = list(build(folder))
    assert [sample['img'].shape for sample in samples] == [
        (30, 60, 3), (40, 60, 3), (50, 60, 3)]
    for sample in samples:
        assert sample['gt_inst_map'].dtype == np.int32
        assert np.unique(sample['gt_inst_map']).tolist() == [0, 5, 70000]
        assert (sample['gt_seg_map'][sample['gt_inst_map'] == 5] == 2).all()


def test_names_that_differ_in_leading_zeros_have_an_order_of_their_own(folder):
    for name in ('a_01', 'a_001'):
        shutil.copy(folder / 'Images/a_1.png', folder / f'Images/{name}.png')
        shutil.copy(folder / 'Labels/a_1.npy', folder / f'Labels/{name}.npy')
    assert names_of(build(folder)) == ['a_001', 'a_01', 'a_1', 'a_2', 'a_10']


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


def test_list_picks_images(folder):
    (folder / 'train.txt').write_text('a_10\n\na_2\n')
    assert names_of(build(folder, ann_file='train.txt')) == ['a_2', 'a_10']


@pytest.mark.parametrize(('text', 'message'), [
    ('a_1\na_3\n', ", line 2: no image 'a_3'"),
    ('a_1\na_2\na_1\n', ", line 3: 'a_1' is already in line 1; remove"),
    ('\n', ': names no image'), (None, ': no such file; it lists')])
def test_wrong_list_is_named_with_its_line(folder, text, message):
    if text is not None:
        (folder / 'train.txt').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=f'train.txt{message}'):
        build(folder, ann_file='train.txt')


@pytest.mark.parametrize('classes', [
    ['background', 'a', 'a'], ['background', 'a', 'A'], ['background', 'a', ' b'],
    ['background', 'a', 'Background']])
def test_classes_of_one_name_are_refused_in_the_config_too(folder, classes):
    with pytest.raises(ValueError, match='CellFolderDataset: metainfo: class '):
        build(folder, metainfo=dict(classes=classes, palette=PALETTE))


def test_an_image_whose_name_is_not_utf_8_is_refused(folder):
    name = os.fsdecode('caf\u00e9'.encode('latin-1'))
    for old in ('Images/a_1.png', 'Labels/a_1.npy'):
        (folder / old).rename(folder / old.replace('a_1', name))
    with pytest.raises(ValueError, match=r"Images: image 'caf.udce9': its name is not"):
        build(folder)


def test_images_in_deeper_folders_are_not_left_out_silently(folder):
    shutil.copytree(folder / 'Images', folder / 'Images/more')
    with pytest.raises(ValueError, match='more/a_.*.png: folders in Images are not re'):
        build(folder)
    (folder / 'train.txt').write_text('a_1\n')
    assert len(build(folder, ann_file='train.txt')) == 1


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


@pytest.mark.parametrize(('text', 'message'), [
    ('{"classes": ', 'not JSON'), ('[]', 'holds no classes and no palette and no mpp'),
    *((json.dumps(INFO | change), message) for change, message in (
        (dict(classes=['tumour', 'other']), '.*expected a list of "background"'),
        (dict(classes='tumour'), '.*expected a list of "background"'),
        (dict(palette=PALETTE[:2]), '.*for each of the 3 classes'),
        (dict(mpp=0), 'mpp 0; expected'), (dict(mpp=40), 'mpp 40; .*magnification'),
        (dict(mpp='40x'), 'mpp 40x; expected')))])
def test_damaged_or_impossible_description_is_named(folder, text, message):
    (folder / 'dataset.json').write_text(text)
    with pytest.raises(ValueError, match=f'dataset.json: {message}'):
        build(folder)


@pytest.mark.parametrize(('labels', 'message'), [
    (np.zeros((40, 60), np.int32), r'.*expected integer \(H, W, 2\)'),
    (np.zeros((40, 60, 2), np.float32), r'.*expected integer \(H, W, 2\)'),
    (np.full((40, 60, 2), 3), r'class id 3 \(instance 3\)'),
    (None, 'no such label file, and no a_2.mat')])
def test_wrong_label_is_found_when_the_dataset_is_built(folder, labels, message):
    if labels is None:
        (folder / 'Labels/a_2.npy').unlink()
    else:
        np.save(folder / 'Labels/a_2.npy', labels)
    with pytest.raises((ValueError, FileNotFoundError), match=f'a_2.npy: {message}'):
        build(folder)


def test_label_of_another_size_is_named_when_it_is_loaded(folder):
    np.save(folder / 'Labels/a_2.npy', np.zeros((40, 61, 2), np.int32))
    dataset = build(folder)
    with pytest.raises(ValueError, match=r'a_2.npy: \(40, 61\) \(rows, columns\) px, '
                       r'its image \(40, 60\)'):
        dataset[1]


def test_a_folder_without_images_is_named(folder):
    for image in (folder / 'Images').iterdir():
        image.unlink()
    with pytest.raises(ValueError, match='Images: no .png file'):
        build(folder)
    (folder / 'Images').rmdir()
    with pytest.raises(FileNotFoundError, match='Images: no such folder'):
        build(folder)


def check_one_class(dataset, nuclei):
    assert dataset.metainfo['classes'] == ('background', 'nucleus')
    assert len(dataset.metainfo['palette']) == 2
    assert dataset.get_data_info(0)['nuclei_per_class'] == [nuclei]
    sample = dataset[0]
    np.testing.assert_array_equal(sample['gt_seg_map'], sample['gt_inst_map'] > 0)


def test_nuclei_of_any_data_set_can_be_one_class(folder, conic_dir, make_consep):
    options = dict(pipeline=PIPELINE, class_agnostic=True)
    check_one_class(
        CellFolderDataset(data_root=str(folder), num_classes=2, **options), 2)
    check_one_class(CoNICDataset(data_root=str(conic_dir), **options), 2)
    for classes in ([1, 2, 3, 4], range(1, 8)):  # merged, or as published
        root = make_consep(classes, f'consep{len(classes)}')
        check_one_class(CoNSePDataset(data_root=str(root), **options), len(classes))
    with pytest.raises(ValueError, match='class id 9'):
        CoNSePDataset(data_root=str(make_consep([9], 'wrong')), **options)
