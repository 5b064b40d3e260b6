# Copyright (c) CellVTA-MMSeg contributors.
import os
import shutil

import numpy as np
import pytest
from own_data import write_image, write_labels
from rich.progress import Progress

from mmseg_cellvta.conversion.custom import convert_custom, find_images, is_divided
from mmseg_cellvta.conversion.splits import GroupSplit
from mmseg_cellvta.conversion.writers import Tiling
from mmseg_cellvta.datasets import CellFolderDataset

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
CLASSES = ['background', 'Tumour', 'other']
SUFFIXES = ['.npy', '.mat', '.png', '.tif', '.geojson']
WHOLE, SPLIT = Tiling(), GroupSplit(0.2, 0.3)


@pytest.fixture
def source(tmp_path):
    """Ten images of five patients; every format of labels is there twice."""
    for i in range(10):
        name = f'patient{i // 2}_{i}'
        suffix = ['.png', '.jpg', '.tif'][i % 3]
        write_image(tmp_path / f'own/images/{name}{suffix}', (40 + i, 60))
        write_labels(tmp_path / f'own/labels/{name}{SUFFIXES[i % 5]}', (40 + i, 60))
    return tmp_path / 'own'


def convert(source, out, classes=CLASSES, mpp=0.6, tiling=WHOLE,
            split=SPLIT):
    with Progress(disable=True) as progress:
        return convert_custom(source, out, classes, mpp, tiling, split, progress)


def lines(path):
    return path.read_text().split()


def test_every_format_arrives_at_the_dataset(source, tmp_path):
    summary, remarks = convert(source, tmp_path / 'out')
    assert remarks == []
    assert summary.images == dict(train=5, val=2, test=3)
    assert sum(summary.nuclei.values()).tolist() == [10, 20]
    dataset = CellFolderDataset(data_root=str(tmp_path / 'out'), pipeline=PIPELINE)
    assert dataset.metainfo['classes'] == CLASSES and len(dataset) == 10
    for i, sample in enumerate(dataset):
        assert sample['sample_name'] == f'patient{i // 2}_{i}'
        assert sample['img'].shape == (40 + i, 60, 3) and sample['mpp'] == 0.6
        assert sample['img'][0, 0].astype(int) == pytest.approx([10, 120, 200], abs=4)
        assert np.unique(sample['gt_inst_map']).tolist() == [0, 1, 2, 3]
        assert sample['gt_seg_map'][8, 4] == 1 and sample['gt_seg_map'][8, 12] == 2
        assert sample['nuclei_per_class'] == [1, 2]


def test_groups_and_tiles_of_an_image_stay_together(source, tmp_path):
    convert(source, tmp_path / 'out', tiling=Tiling(32, 8),
            split=GroupSplit(0.2, 0.2, r'(patient\d)'))
    parts = [lines(tmp_path / f'out/{part}.txt') for part in ('train', 'val', 'test')]
    patients = [{name.split('_')[0] for name in names} for names in parts]
    assert [len(group) for group in patients] == [3, 1, 1]
    assert len(set.union(*patients)) == 5
    assert sum(map(len, parts)) == len(list((tmp_path / 'out/Images').iterdir()))


def test_folders_of_the_parts_are_kept(source, tmp_path):
    for part in ('train', 'Val'):
        shutil.copytree(source, tmp_path / f'divided/{part}')
    assert is_divided(tmp_path / 'divided') and not is_divided(source)
    summary, _ = convert(tmp_path / 'divided', tmp_path / 'out', split=None)
    assert summary.images == dict(train=10, val=10)
    # The same names in both: the part goes in front.
    assert lines(tmp_path / 'out/val.txt')[0] == 'val_patient0_0'
    assert lines(tmp_path / 'out/train.txt')[0] == 'train_patient0_0'


def test_names_that_differ_between_the_parts_stay(tmp_path):
    for part, name in dict(train='a', test='b').items():
        write_image(tmp_path / f'{part}/images/{name}.png')
        write_labels(tmp_path / f'{part}/labels/{name}.npy')
    assert [image.name for image in find_images(tmp_path)] == ['a', 'b']


@pytest.mark.parametrize(('folder', 'split', 'message'), [
    ('divided/train', SPLIT, 'divided into folders train, val and test'),
    ('divided', None, 'not divided into train, val and test')])
def test_folders_and_shares_must_fit(source, tmp_path, folder, split, message):
    shutil.copytree(source, tmp_path / folder)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / 'divided', tmp_path / 'out', split=split)


def test_capital_letters_and_other_files_do_not_matter(source):
    (source / 'images/Thumbs.db').touch()
    (source / 'images/._patient0_0.png').touch()
    (source / 'labels/notes.txt').touch()
    (source / 'images').rename(source / 'Images')
    (source / 'labels').rename(source / 'LABELS')
    assert len(find_images(source)) == 10


def test_image_whose_name_ends_like_a_map_of_classes(tmp_path):
    for name, suffix in dict(a='.npy', a_class='.npy', b='.png').items():
        write_image(tmp_path / f'images/{name}.png')
        write_labels(tmp_path / f'labels/{name}{suffix}')
    images = {image.name: image for image in find_images(tmp_path)}
    assert images['a'].class_path is images['a_class'].class_path is None
    assert images['a_class'].label_path.name == 'a_class.npy'
    assert images['b'].class_path.name == 'b_class.png'


def remove(name):
    return lambda source: (source / name).unlink()


def copy(name, to):
    return lambda source: shutil.copy(source / name, source / to)


@pytest.mark.parametrize(('change', 'error', 'message'), [
    (remove('labels/patient0_1.mat'), FileNotFoundError,
     r'images/patient0_1.jpg: no label patient0_1\.\* in .*labels'),
    (remove('images/patient0_1.jpg'), FileNotFoundError,
     r'labels/patient0_1.mat: no image patient0_1\.\* in .*images'),
    (copy('images/patient0_1.jpg', 'images/patient0_1.png'), ValueError,
     'images: patient0_1.jpg and patient0_1.png: which one is patient0_1'),
    (copy('labels/patient0_1.mat', 'labels/patient0_1.npy'), ValueError,
     'labels: patient0_1.mat and patient0_1.npy: which one'),
    (copy('labels/patient0_1.mat', 'labels/patient1_2_class.mat'), ValueError,
     'labels: patient1_2_class.mat and patient1_2_class.png: which one'),
    (copy('labels/patient0_1.mat', 'labels/patient0_0_class.mat'), ValueError,
     'patient0_0_class.mat: a map of the classes of patient0_0 is expected as .npy'),
    (lambda source: shutil.rmtree(source / 'labels'), FileNotFoundError,
     'own: no folder labels in it'),
    (lambda source: shutil.rmtree(source / 'images'), FileNotFoundError,
     'own: no folder images in it; expected images and labels, or train'),
    (lambda source: [path.unlink() for path in (source / 'images').iterdir()],
     FileNotFoundError, 'images: no image in it'),
    (shutil.rmtree, FileNotFoundError, 'own: no such folder'),
    (lambda source: shutil.copytree(source / 'images', source / 'images/more'),
     ValueError, 'images/more: folders in images are not read; move the files'),
    (lambda source: shutil.copytree(source / 'labels', source / 'labels/more'),
     ValueError, 'labels/more: folders in labels are not read'),
    (lambda source: (source / 'train').mkdir(), ValueError,
     'own: holds images and also train'),
    (lambda source: (source / 'images/patient0_1.jpg').write_bytes(b'\xff\xd8'),
     ValueError, 'patient0_1.jpg: not a readable image')])
def test_wrong_files_are_named_and_nothing_appears(source, tmp_path, change, error,
                                                   message):
    change(source)
    with pytest.raises(error, match=message):
        convert(source, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('name', 'message'), [
    (os.fsdecode('caf\u00e9'.encode('latin-1')), 'its name is not in UTF-8; rename it'),
    ('a\nb', 'expected one line'), (' a', 'without blanks around it')])
def test_names_that_lists_cannot_hold_are_refused(source, tmp_path, name, message):
    for folder, suffix in dict(images='.png', labels='.npy').items():
        shutil.copy(source / f'{folder}/patient0_0{suffix}',
                    source / f'{folder}/{name}{suffix}')
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / 'out')
    assert not list(tmp_path.glob('out*'))


def test_a_label_of_a_format_that_is_not_read_is_called_so(source, tmp_path):
    path = source / 'labels/patient0_0.npy'
    path.rename(path.with_suffix('.npz'))
    with pytest.raises(FileNotFoundError, match='no label .*; patient0_0.npz is there, '
                       'but only .npy, .mat'):
        convert(source, tmp_path / 'out')


def to_ids(change):
    def rewrite(source):
        path = source / 'labels/patient0_0.npy'
        labels = np.load(path).astype(np.float64)
        np.save(path, change(labels))
    return rewrite


def put(row, col, channel, value):
    def change(labels):
        labels[row, col, channel] = value
        return labels
    return to_ids(change)


@pytest.mark.parametrize(('change', 'message'), [
    (to_ids(lambda labels: labels[:-1]), 'patient0_0.npy: .* its image patient0_0.png'),
    (put(0, 20, 0, -1), 'instance id -1; ids must not be negative'),
    (put(0, 20, 0, 0.5), 'patient0_0.npy: 0.5 at row 0, column 20'),
    (put(0, 20, 0, np.nan), 'patient0_0.npy: nan at row 0, column 20'),
    (put(0, 20, 1, np.inf), 'patient0_0.npy: inf at row 0, column 20'),
    (put(6, 3, 1, 2), r'instance 3 has the classes \[1, 2\]'),
    (put(6, 3, 1, 0), r'instance 3 has the classes \[0, 1\]|has class 0'),
    (to_ids(lambda labels: labels * [1, 2]), 'class id 4 .* is outside the 3 classes')])
def test_wrong_labels_are_named(source, tmp_path, change, message):
    change(source)
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_ids_above_16_bits_stay_apart(source, tmp_path):
    put(5, 0, 0, 3)(source)
    path = source / 'labels/patient0_0.npy'
    labels = np.load(path)
    labels[..., 0][labels[..., 0] == 900] = 3 + (1 << 16)
    np.save(path, labels)
    summary, _ = convert(source, tmp_path / 'out')
    assert sum(summary.nuclei.values()).tolist() == [10, 20]


def test_nuclei_of_an_unusual_size_are_remarked(source, tmp_path):
    _, remarks = convert(source, tmp_path / 'out', mpp=0.15)
    assert remarks == ['the median diameter of nuclei is 1.4 µm, 4 to 25 µm are '
                       'usual: are the labels in px, and is --mpp right?']


@pytest.mark.parametrize('mpp', [0, -1, float('nan'), 40, 0.001, float('inf')])
def test_impossible_resolution_is_refused(source, tmp_path, mpp):
    with pytest.raises(ValueError, match=f'--mpp {mpp}: expected'):
        convert(source, tmp_path / 'out', mpp=mpp)


@pytest.mark.parametrize('changed', [
    dict(mpp=0.5), dict(classes=['background', 'nucleus']), dict(tiling=Tiling(32)),
    dict(split=GroupSplit(0.2, 0.2))])
def test_other_settings_do_not_go_on(source, tmp_path, changed):
    path = source / 'labels/patient4_9.geojson'
    right = path.read_text()
    path.write_text(right.replace('OTHER', 'stroma'))
    with pytest.raises(ValueError, match=r"features\[1\]: class 'stroma' is none of "
                       'Tumour, other'):
        convert(source, tmp_path / 'out')
    path.write_text(right)
    with pytest.raises(FileExistsError, match='begun with other settings'):
        convert(source, tmp_path / 'out', **changed)
    convert(source, tmp_path / 'out')
