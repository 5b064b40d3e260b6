# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from scipy import ndimage

from mmseg_cellvta.datasets.transforms import (
    CellRandomAffine,
    CellRandomRotate90,
    CellRandomSizedCrop,
)

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


def build(**kwargs):
    return TRANSFORMS.build(dict(type='ResizeToMpp', **kwargs))


def sample(height=256, width=256, **keys):
    img = np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)
    inst_map = np.random.randint(0, 70_000, (height, width), dtype=np.int32)
    return dict(img=img, gt_inst_map=inst_map, gt_seg_map=inst_map.astype(np.uint8),
                seg_fields=['gt_inst_map', 'gt_seg_map'], **keys)


def test_a_conic_patch_gets_the_size_of_the_released_test_code():
    results = build(mpp=0.5 * 256 / 480)(sample(mpp=0.5))
    assert results['img'].shape == (480, 480, 3)
    assert results['img_shape'] == (480, 480)
    assert results['scale_factor'] == (1.875, 1.875)


@pytest.mark.parametrize('mpp', [0.125, 0.23, 0.25, 0.46, 1.0])
def test_any_scanner_comes_to_the_same_scale(mpp):
    results = build(mpp=0.25)(sample(height=120, width=200, mpp=mpp))
    expected = round(120 * mpp / 0.25), round(200 * mpp / 0.25)
    assert results['img'].shape[:2] == results['gt_inst_map'].shape == expected


def test_labels_keep_their_ids_and_stay_under_their_image():
    results = sample(mpp=0.5)
    before = results['gt_inst_map'].copy()
    after = build(mpp=0.25)(results)['gt_inst_map']
    np.testing.assert_array_equal(after, before.repeat(2, 0).repeat(2, 1))
    assert results['gt_seg_map'].dtype == np.uint8


def test_a_square_stays_at_its_place_at_an_odd_scale():
    results = sample(mpp=0.5)
    inst_map = np.zeros((256, 256), np.int32)
    inst_map[101:140, 60:90] = 7
    results.update(img=np.repeat(inst_map[..., None] * 30, 3, 2).astype(np.uint8),
                   gt_inst_map=inst_map)
    results = build(mpp=0.5 * 256 / 480)(results)
    bright = (results['img'][..., 0] > 105).astype(np.uint8)
    labels = (results['gt_inst_map'] == 7).astype(np.uint8)
    boxes = np.array([cv2.boundingRect(mask) for mask in (bright, labels)])
    assert np.abs(boxes[0] - boxes[1]).max() <= 1


def test_an_image_of_the_networks_scale_stays_as_it_is():
    before = sample(mpp=0.25)
    results = build(mpp=0.25)(dict(before))
    assert results['img'] is before['img']
    assert results['scale_factor'] == (1, 1) and results['network_mpp'] == 0.25


def test_images_that_do_not_say_their_scale_take_that_of_the_config():
    transform = build(mpp=0.25, source_mpp=0.5)
    assert transform(sample(mpp=0.25))['img'].shape == (256, 256, 3)
    assert transform(sample())['img'].shape == (512, 512, 3)


def test_an_unknown_scale_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match='a.png: .* set source_mpp'):
        build(mpp=0.25)(sample(img_path='a.png'))


@pytest.mark.parametrize('wrong', [dict(mpp=0), dict(mpp=0.25, source_mpp=-1)])
def test_a_scale_below_0_is_an_error(wrong):
    with pytest.raises(ValueError, match='expected µm/px above 0'):
        build(**wrong)


def test_the_four_tiles_of_an_enlarged_patch_come_equally_often():
    transform = TRANSFORMS.build(dict(type='RandomTile', size=256, stride=224))
    rows, cols = np.indices((480, 480), dtype=np.int32)
    corners = []
    for _ in range(400):
        results = transform(dict(
            img=np.stack([rows, cols, rows], -1), gt_inst_map=rows * 480 + cols,
            seg_fields=['gt_inst_map']))
        row, col = results['img'][0, 0, :2]
        assert results['img_shape'] == results['gt_inst_map'].shape == (256, 256)
        assert results['gt_inst_map'][0, 0] == row * 480 + col
        corners.append((int(row), int(col)))
    corners, counts = np.unique(corners, axis=0, return_counts=True)
    assert corners.tolist() == [[0, 0], [0, 224], [224, 0], [224, 224]]
    assert counts.min() > 60


def test_a_stride_that_leaves_pixels_out_stops_before_training():
    with pytest.raises(ValueError, match='stride=300 px for tiles of 256 px'):
        TRANSFORMS.build(dict(type='RandomTile', size=256, stride=300))


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
def test_labels_are_not_shifted_against_the_image(motion):
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
    """Whatever the dtypes: class ids may be int32 too, and stay what they are."""
    inst_map = np.zeros((9, 20), np.int32)
    inst_map[3:6, 2:5] = inst_map[3:6, 10:13] = 400  # a nucleus and its mirror image
    inst_map[3:6, 5:8] = 401  # touches the first
    results = CellRandomAffine(prob=1.0, max_shift=0.0)(dict(
        img=np.zeros((9, 20, 3), np.uint8), gt_inst_map=inst_map,
        gt_seg_map=np.where(inst_map > 0, 7, 0).astype(np.int32),
        seg_fields=['gt_inst_map', 'gt_seg_map']))
    split = results['gt_inst_map']
    assert split.dtype == np.int32
    assert len({split[4, 3], split[4, 6], split[4, 11]} - {0}) == 3
    assert set(results['gt_seg_map'].ravel()) == {0, 7}


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
