# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from scipy import ndimage

from mmseg_cellvta.datasets.transforms import (
    CellRandomAffine,
    CellRandomRotate90,
    CellRandomSizedCrop,
)
from mmseg_cellvta.datasets.transforms.geometric import split_copies

MOTIONS = [
    dict(type='CellRandomRotate90', prob=1.0),
    dict(type='CellRandomSizedCrop', prob=1.0, min_fraction=0.5),
    dict(type='CellRandomAffine', prob=1.0, max_shift=10),
    dict(type='RandomFlip', prob=1.0, direction='horizontal'),
    dict(type='RandomFlip', prob=1.0, direction='vertical'),
    dict(type='RandomFlip', prob=1.0, direction='diagonal'),
    dict(type='RandomCrop', crop_size=(48, 48)),
    dict(type='Resize', scale=(120, 120), keep_ratio=False),
]


def name_of(motion):
    return ' '.join(map(str, motion.values()))


def sample_with_image_encoding_labels():
    """Twelve nuclei with ids above 255; each channel shows a map times a factor."""
    inst_map = np.zeros((64, 64), np.int32)
    class_map = np.zeros((64, 64), np.uint8)
    for i in range(12):
        row, col = 16 * (i // 4) + 5, 16 * (i % 4) + 2
        inst_map[row:row + 11, col:col + 12] = 1000 + i
        class_map[row:row + 11, col:col + 12] = 1 + i % 3
    img = np.stack([(inst_map > 0) * 240, class_map * 80, class_map * 60], -1)
    return dict(img=img.astype(np.uint8), gt_inst_map=inst_map, gt_seg_map=class_map,
                seg_fields=['gt_inst_map', 'gt_seg_map'], img_shape=(64, 64))


def inner(class_map):
    """Pixels whose 5 x 5 neighbourhood is one class: interpolation cannot reach."""
    same = np.ones(class_map.shape, bool)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            same &= np.roll(class_map, (dy, dx), (0, 1)) == class_map
    same[:2], same[-2:], same[:, :2], same[:, -2:] = False, False, False, False
    return same


@pytest.mark.parametrize('motion', MOTIONS, ids=name_of)
def test_image_and_both_maps_move_together(motion):
    transform = TRANSFORMS.build(motion)
    for _ in range(5):
        results = transform(sample_with_image_encoding_labels())
        class_map, inst_map = results['gt_seg_map'], results['gt_inst_map']
        assert results['img'].shape[:2] == class_map.shape == inst_map.shape
        assert results['img_shape'] == class_map.shape
        assert class_map.dtype == np.uint8 and inst_map.dtype == np.int32
        assert ((inst_map > 0) == (class_map > 0)).all()
        clear = inner(class_map)
        assert clear.mean() > 0.2
        np.testing.assert_array_equal(results['img'][..., 1][clear],
                                      80 * class_map[clear])
        assert set(np.unique(class_map)) <= {0, 1, 2, 3}


@pytest.mark.parametrize('motion', MOTIONS[:3], ids=lambda m: m['type'])
def test_labels_are_not_shifted_against_the_picture(motion):
    np.random.seed(0)
    transform = TRANSFORMS.build(motion)
    shifts = []
    for _ in range(60):
        results = transform(sample_with_image_encoding_labels())
        seen, labelled = (
            ndimage.center_of_mass(values) for values in (
                results['img'][..., 1], 80.0 * results['gt_seg_map']))
        shifts.append(np.subtract(seen, labelled))
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.05)  # px


@pytest.mark.parametrize('motion', MOTIONS[:2] + MOTIONS[3:], ids=name_of)
def test_ids_are_those_of_before(motion):
    results = TRANSFORMS.build(motion)(sample_with_image_encoding_labels())
    assert set(np.unique(results['gt_inst_map'])) <= {0, *range(1000, 1012)}


@pytest.mark.parametrize('motion', MOTIONS[:3], ids=lambda m: m['type'])
def test_same_seed_gives_the_same_motion(motion):
    transform = TRANSFORMS.build(motion)
    runs = []
    for _ in range(2):
        np.random.seed(3)
        runs.append(transform(sample_with_image_encoding_labels())['gt_inst_map'])
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize('motion', MOTIONS[:3], ids=lambda m: m['type'])
def test_probability_zero_changes_nothing(motion):
    before = sample_with_image_encoding_labels()
    results = TRANSFORMS.build(dict(motion, prob=0.0))(dict(before))
    assert results['img'] is before['img']
    assert results['gt_inst_map'] is before['gt_inst_map']


def test_rotation_takes_all_four_quarters():
    transform = CellRandomRotate90(prob=1.0)
    img = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    corners = {transform(dict(img=img))['img'][0, 0, 0] for _ in range(60)}
    assert corners == {0, 3, 6, 9}


def test_rotation_of_an_oblong_image_updates_its_shape():
    np.random.seed(0)
    shapes = set()
    for _ in range(30):
        results = CellRandomRotate90(prob=1.0)(dict(img=np.zeros((4, 6, 3), np.uint8)))
        shapes.add(results['img_shape'])
    assert shapes == {(4, 6), (6, 4)}


def test_sized_crop_enlarges_within_its_range():
    img = np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (100, 1, 3))
    transform = CellRandomSizedCrop(prob=1.0, min_fraction=0.5)
    sides = [np.ptp(transform(dict(img=img))['img'][..., 0].astype(int)) + 1
             for _ in range(100)]
    assert 49 <= min(sides) < 60 and 90 < max(sides) <= 100


def test_affine_without_shift_is_identity():
    before = sample_with_image_encoding_labels()
    results = CellRandomAffine(prob=1.0, max_shift=0.0)(dict(before))
    np.testing.assert_array_equal(results['img'], before['img'])
    np.testing.assert_array_equal(results['gt_inst_map'] > 0, before['gt_inst_map'] > 0)


def test_mirrored_copy_becomes_a_nucleus_of_its_own():
    inst_map = np.zeros((8, 20), np.int32)
    inst_map[2:5, 2:5] = inst_map[2:5, 10:13] = 400  # a nucleus and its mirror image
    inst_map[2:5, 5:8] = 401  # touches the first
    split = split_copies(inst_map)
    assert split.dtype == np.int32
    assert len({split[3, 3], split[3, 6], split[3, 11]} - {0}) == 3


@pytest.mark.parametrize('make', [
    lambda: CellRandomRotate90(prob=1.2),
    lambda: CellRandomSizedCrop(prob=0.5, min_fraction=0),
])
def test_argument_out_of_range_is_an_error(make):
    with pytest.raises(ValueError, match='expected'):
        make()


@pytest.mark.parametrize('motion', MOTIONS, ids=name_of)
def test_maps_of_any_depth_agree_to_the_pixel(motion):
    transform = TRANSFORMS.build(motion)
    checks = (np.indices((48, 64)).sum(0) // 3 % 2).astype(np.int32)
    for _ in range(40):
        results = transform(dict(
            img=np.zeros((48, 64, 3), np.uint8), gt_inst_map=checks.copy(),
            gt_seg_map=checks.astype(np.uint8),
            seg_fields=['gt_inst_map', 'gt_seg_map']))
        inside = results['gt_inst_map'] > 0
        np.testing.assert_array_equal(results['gt_seg_map'] > 0, inside)
