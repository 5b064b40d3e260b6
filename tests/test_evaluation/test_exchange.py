# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.conversion.pannuke import merge_channels
from mmseg_cellvta.evaluation.exchange import (
    LabelArray,
    export_arrays,
    read_label_map,
    to_conic,
    to_pannuke,
    write_label_map,
)

# Ids 1, 2 and 4 of the classes 2, 5 and 2.
INST = np.kron([[1, 0, 2], [0, 4, 4]], np.ones((4, 4), np.int32)).astype(np.int32)
CLASSES = np.array([0, 2, 5, 0, 2])[INST]


def sources(**maps):
    return {name: lambda index, images=images: images[index]
            for name, images in maps.items()}


def export(out, layout='conic', num_classes=6, tissues=('Skin', 'Colon'), **maps):
    names = ['a', 'b'][:len(next(iter(maps.values())))]
    export_arrays(
        out, layout, names, sources(**maps), num_classes, tissues, dict(test=1))


def test_a_label_map_comes_back_as_it_was_written(tmp_path):
    inst_map = np.minimum(INST, 3)
    write_label_map(tmp_path / 'a.npy', inst_map, np.array([2, 5, 2]))
    assert np.load(tmp_path / 'a.npy').dtype == np.int32
    back, classes = read_label_map(tmp_path / 'a.npy', 6)
    assert np.array_equal(back, inst_map) and np.array_equal(classes, CLASSES)
    assert [path.name for path in tmp_path.iterdir()] == ['a.npy']


def test_an_image_without_nuclei_has_a_label_map_too(tmp_path):
    write_label_map(tmp_path / 'a.npy', np.zeros((4, 6), np.int32), np.zeros(0, int))
    assert not np.load(tmp_path / 'a.npy').any()


def test_an_interrupted_label_map_leaves_the_old_one(tmp_path, monkeypatch):
    write_label_map(tmp_path / 'a.npy', INST.clip(0, 1), np.array([1]))

    def stop(file, array):
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(np, 'save', stop)
    with pytest.raises(KeyboardInterrupt):
        write_label_map(tmp_path / 'a.npy', INST.clip(0, 1), np.array([2]))
    assert np.load(tmp_path / 'a.npy').max() == 1
    assert [path.name for path in tmp_path.iterdir()] == ['a.npy']


@pytest.mark.parametrize('array, message', [
    (np.zeros((4, 4)), r'float64 \(4, 4\); expected integer'),
    (np.stack([INST, CLASSES * 0 - 1], -1), 'class id -1; ids must not'),
    (np.stack([INST, CLASSES + 1], -1), 'class id 6'),
    (np.stack([-INST, CLASSES], -1), 'instance id -4'),
])
def test_label_maps_that_are_wrong_are_refused_by_name(tmp_path, array, message):
    np.save(tmp_path / 'a.npy', array)
    with pytest.raises(ValueError, match=f'a.npy: {message}'):
        read_label_map(tmp_path / 'a.npy', 6)


def test_a_missing_label_map_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'b\.npy: .*label_maps=True'):
        read_label_map(tmp_path / 'b.npy', 6)


def test_conic_has_ids_and_classes_of_nuclei_only():
    classes = CLASSES.copy()
    classes[0, 4] = 3  # not in a nucleus
    assert np.array_equal(to_conic(INST, classes), np.stack([INST, CLASSES], -1))


def test_pannuke_has_a_channel_per_class_and_the_background_last():
    array = to_pannuke(INST, CLASSES, 6)
    assert array.shape == (*INST.shape, 6)
    assert np.array_equal(array[..., 1], np.where(CLASSES == 2, INST, 0))
    assert np.array_equal(array[..., 4], np.where(CLASSES == 5, INST, 0))
    assert not array[..., [0, 2, 3]].any()
    assert np.array_equal(array[..., 5], INST == 0)


def test_pannuke_converted_back_has_the_same_nuclei():
    """By the conversion's rule: where channels overlap, the later one wins."""
    inst_map, class_map = merge_channels(to_pannuke(INST, CLASSES, 6), 'a')
    assert np.array_equal(class_map, CLASSES)
    pairs = {tuple(pair) for pair in np.stack([INST, inst_map], -1).reshape(-1, 2)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 4


def test_files_are_complete_and_in_order(tmp_path):
    other = (INST[:, ::-1], CLASSES[:, ::-1])
    export(tmp_path / 'out', true=[(INST, CLASSES), other], pred=[other] * 2)
    true, pred = (np.load(tmp_path / f'out/{name}.npy') for name in ('true', 'pred'))
    assert true.shape == (2, *INST.shape, 2) and true.dtype == np.uint16
    assert np.array_equal(true[0, ..., 0], INST)
    assert np.array_equal(true[1], pred[0])
    assert np.load(tmp_path / 'out/true.npy', mmap_mode='r').flags.c_contiguous
    assert not (tmp_path / 'out.part').exists()


def test_ids_above_16_bits_make_an_int32_array_of_that_file_alone(tmp_path):
    large = (np.where(INST == 4, 65536, INST), CLASSES)
    export(tmp_path / 'out', true=[(INST, CLASSES)], pred=[large], tissues=['Skin'])
    assert np.load(tmp_path / 'out/true.npy').dtype == np.uint16
    pred = np.load(tmp_path / 'out/pred.npy')
    assert pred.dtype == np.int32 and pred.max() == 65536


def test_the_pannuke_scorer_finds_its_names(tmp_path):
    """It reads <true>/masks.npy, <true>/types.npy and <pred>/masks.npy."""
    export(tmp_path / 'out', 'pannuke', true=[(INST, CLASSES)] * 2,
           pred=[(INST, CLASSES)] * 2, tissues=['Skin', None])
    for folder in ('true', 'pred'):
        masks = np.load(tmp_path / f'out/{folder}/masks.npy')
        assert np.array_equal(masks, np.load(tmp_path / f'out/{folder}.npy'))
        assert masks.shape == (2, *INST.shape, 6)
    types = np.load(tmp_path / 'out/true/types.npy')
    assert types.tolist() == ['Skin', 'unknown']
    moved = (tmp_path / 'out').rename(tmp_path / 'moved')
    assert np.load(moved / 'pred/masks.npy').shape == masks.shape


@pytest.mark.parametrize('maps, message', [
    (dict(true=[(INST, CLASSES), (INST[:6], CLASSES[:6])]),
     r'b \(true\): \(6, 12\) .* but a \(8, 12\); .* cut them into tiles'),
    (dict(true=[(INST, CLASSES)], pred=[(INST[:6], CLASSES[:6])]),
     r'a \(pred\): \(6, 12\)'),
])
def test_images_of_two_sizes_are_refused_before_anything_is_written(
        tmp_path, maps, message):
    with pytest.raises(ValueError, match=message):
        export(tmp_path / 'out', **maps)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_refused_at_once(tmp_path):
    (tmp_path / 'out').mkdir()
    with pytest.raises(FileExistsError, match='out: exists already'):
        export(tmp_path / 'out', true=[])


def test_an_interrupted_export_leaves_no_folder_and_can_be_repeated(tmp_path):
    calls = []

    def read(index):
        calls.append(index)
        if len(calls) == 4:
            raise OSError('disk gone')
        return INST, CLASSES

    arguments = ('conic', ['a', 'b'], dict(true=read), 6, ['Skin'] * 2, dict(test=1))
    with pytest.raises(OSError, match='disk gone'):
        export_arrays(tmp_path / 'out', *arguments)
    assert not (tmp_path / 'out').exists()
    export_arrays(tmp_path / 'out', *arguments)
    assert np.load(tmp_path / 'out/true.npy').shape == (2, *INST.shape, 2)


def save(path, change=None, dtype=np.uint16):
    """Two images of 8 x 8 px with instances 4 (class 2) and 9 (class 1)."""
    labels = np.zeros((2, 8, 8, 2), dtype)
    labels[:, 1:4, 1:4] = 4, 2
    labels[:, 5:8, 5:8] = 9, 1
    if change is not None:
        change(labels)
    np.save(path, labels)
    return path


def test_an_image_is_its_ids_and_the_classes_in_order_of_the_ids(tmp_path):
    labels = LabelArray(save(tmp_path / 'gt.npy'), num_classes=3)
    assert len(labels) == 2 and labels.shape == (2, 8, 8, 2)
    inst_map, classes = labels[1]
    assert inst_map[2, 2] == 4 and inst_map[6, 6] == 9 and inst_map[0, 0] == 0
    assert classes.tolist() == [2, 1] and labels.mixed == []


def test_an_instance_with_two_classes_is_noted_and_takes_the_majority(tmp_path):
    def change(labels):
        labels[1, 1, 1, 1] = 1

    labels = LabelArray(save(tmp_path / 'gt.npy', change), num_classes=3)
    assert [labels[index][1].tolist() for index in range(2)] == [[2, 1], [2, 1]]
    assert labels.mixed == [(1, 4)]


@pytest.mark.parametrize('place, value, message', [
    (np.s_[1, 6, 5:, 1], 7, 'class id 7 in image 1 at row 6, column 5; expected 0..2'),
    (np.s_[1, 2, 2, 1], -3, 'class id -3 in image 1 at row 2, column 2'),
    (np.s_[1, 2, 2, 0], -3, 'instance id -3 in image 1 at row 2, column 2'),
])
def test_wrong_ids_are_named_with_file_and_place(tmp_path, place, value, message):
    def change(labels):
        labels[place] = value

    labels = LabelArray(save(tmp_path / 'gt.npy', change, np.int32), num_classes=3)
    labels[0]
    with pytest.raises(ValueError, match=f'gt.npy: {message}'):
        labels[1]


def test_truncated_and_missing_files_are_refused_on_opening(tmp_path):
    path = save(tmp_path / 'gt.npy')
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match='gt.npy: not a complete .npy file'):
        LabelArray(path, num_classes=3)
    with pytest.raises(FileNotFoundError, match='none.npy: no such file'):
        LabelArray(tmp_path / 'none.npy', num_classes=3)


def test_an_archive_is_refused(tmp_path):
    np.savez(tmp_path / 'gt.npz', labels=np.zeros((1, 4, 4, 2), int))
    with pytest.raises(ValueError, match='an .npz archive'):
        LabelArray(tmp_path / 'gt.npz', num_classes=3)


@pytest.mark.parametrize('array, message', [
    (np.zeros((2, 8, 8), int), r'shape \(2, 8, 8\), expected \(N, H, W, 2\)'),
    (np.zeros((2, 8, 8, 3), int), r'gt.npy\[0\]: int64 \(8, 8, 3\); expected integer'),
    (np.zeros((2, 8, 8, 2)), r'gt.npy\[0\]: float64 \(8, 8, 2\); expected integer'),
])
def test_other_layouts_are_refused(tmp_path, array, message):
    np.save(tmp_path / 'gt.npy', array)
    with pytest.raises(ValueError, match=message):
        LabelArray(tmp_path / 'gt.npy', num_classes=3)[0]
