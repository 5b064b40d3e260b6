# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from skimage.color import rgb_from_hed

from mmseg_cellvta.datasets.transforms import (
    CellBlur,
    CellColorJitter,
    CellGaussNoise,
    CellStainJitter,
    CellSuperpixels,
    CellZoomBlur,
)
from mmseg_cellvta.datasets.transforms.photometric import shift_hue

CHANGES = [CellBlur, CellColorJitter, CellGaussNoise, CellStainJitter, CellSuperpixels,
           CellZoomBlur]


def noise_image(side=64):
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize('change', CHANGES)
def test_image_stays_uint8_and_labels_stay_untouched(change):
    labels = np.ones((64, 64), np.int32)
    img = cv2.blur(noise_image(), (5, 5))  # SLIC finds nothing in white noise
    results = change(prob=1.0)(dict(img=img.copy(), gt_inst_map=labels))
    assert results['img'].dtype == np.uint8 and results['img'].shape == img.shape
    assert (results['img'] != img).any() and results['img'].flags.c_contiguous
    assert results['gt_inst_map'] is labels


@pytest.mark.parametrize('change', CHANGES)
def test_probability_zero_changes_nothing(change):
    img = noise_image()
    assert change(prob=0.0)(dict(img=img))['img'] is img


@pytest.mark.parametrize('change', CHANGES)
def test_same_seed_gives_the_same_image(change):
    runs = []
    for _ in range(2):
        np.random.seed(5)
        runs.append(change(prob=1.0)(dict(img=noise_image()))['img'])
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize('change', CHANGES)
def test_probability_outside_0_to_1_is_an_error(change):
    with pytest.raises(ValueError, match=rf'{change.__name__}: prob=-0\.1'):
        change(prob=-0.1)


def test_probability_is_the_share_of_changed_images():
    img = noise_image(8)
    changed = sum(CellGaussNoise(prob=0.2)(dict(img=img))['img'] is not img
                  for _ in range(2000))
    assert 320 < changed < 480  # 400 expected, spread 18


def test_blur_averages_its_box():
    img = np.zeros((9, 9, 3), np.uint8)
    img[4, 4] = 225
    out = CellBlur(prob=1.0, kernel_sizes=(3,))(dict(img=img))['img']
    assert (out[3:6, 3:6] == 25).all() and out.sum() == 225 * 3


def test_noise_has_the_drawn_variance():
    img = np.full((256, 256, 3), 128, np.uint8)
    variances = [
        (CellGaussNoise(prob=1.0, max_variance=10)(dict(img=img))['img'] - 128.0).var()
        for _ in range(30)
    ]
    # Uniform from 0 to 10; rounding adds 1/12.
    assert max(variances) < 10.3 and 3.0 < np.mean(variances) < 7.0


def test_jitter_without_strength_changes_at_most_rounding():
    img = noise_image()
    jitter = CellColorJitter(prob=1.0, brightness=0, contrast=0, saturation=0, hue=0)
    out = jitter(dict(img=img))['img']
    assert np.abs(out.astype(int) - img).max() <= 6  # 8-bit HSV and back


def test_brightness_scales_within_its_range():
    img = np.full((4, 4, 3), 100, np.uint8)
    jitter = CellColorJitter(prob=1.0, brightness=0.25, contrast=0, saturation=0, hue=0)
    values = [int(jitter(dict(img=img))['img'][0, 0, 0]) for _ in range(200)]
    assert 75 <= min(values) < 80 and 120 < max(values) <= 125


def test_hue_shift_turns_the_circle_both_ways():
    red = np.full((1, 1, 3), (0, 0, 255), np.uint8)
    for fraction, expected in [(1 / 3, (0, 255, 0)), (-1 / 3, (255, 0, 0))]:
        assert shift_hue(red, fraction)[0, 0].tolist() == list(expected)


def test_all_superpixels_replaced_leave_few_colours():
    change = CellSuperpixels(prob=1.0, replace_prob=1.0, num_segments=16)
    img = cv2.GaussianBlur(noise_image(), (0, 0), 4)
    out = change(dict(img=img))['img']
    assert len(np.unique(out.reshape(-1, 3), axis=0)) <= 40
    assert np.abs(out.mean() - img.mean()) < 2


def test_large_image_is_reduced_before_superpixels():
    img = noise_image(64)
    out = CellSuperpixels(prob=1.0, replace_prob=0.0, max_side=32)(dict(img=img))['img']
    small = cv2.resize(img, (32, 32))
    np.testing.assert_array_equal(out, cv2.resize(small, (64, 64)))


def test_zoom_blur_keeps_the_centre_sharper_than_the_corner():
    change = CellZoomBlur(prob=1.0, max_factor=1.5, step=(0.02, 0.02))
    np.random.seed(1)
    out = change(dict(img=noise_image(65)))['img'].astype(float)
    assert out[29:36, 29:36].std() > 1.5 * out[:12, :12].std()


def stained(hematoxylin, eosin, size=8):
    """A BGR image of one mixture of stains, given as optical densities."""
    density = np.array([hematoxylin, eosin, 0]) @ rgb_from_hed
    rgb = np.rint(255 * np.exp(-density))
    return np.full((size, size, 3), rgb[::-1], np.uint8)


def test_stains_without_strength_change_nothing():
    img = noise_image()
    out = CellStainJitter(prob=1.0, scale=0.0, shift=0.0)(dict(img=img))['img']
    assert np.abs(out.astype(int) - np.maximum(img, 1)).max() <= 1


def test_a_scaled_stain_is_the_same_stain_in_another_strength():
    transform = CellStainJitter(prob=1.0, scale=0.5, shift=0.0)
    strengths = []
    for _ in range(50):
        changed = transform(dict(img=stained(0.8, 0.0)))['img'][0, 0, ::-1]
        density = -np.log(changed / 255)
        strengths.append(density @ np.linalg.inv(rgb_from_hed))
    amounts = np.array(strengths)
    assert np.abs(amounts[:, 1:]).max() < 0.05  # no eosin, no residual appears
    assert 0.35 < amounts[:, 0].min() < 0.5 and 1.1 < amounts[:, 0].max() < 1.25


@pytest.mark.parametrize('shift', [0.0, 0.05])
def test_glass_changes_by_at_most_the_shift(shift):
    glass = np.full((4, 4, 3), 255, np.uint8)
    transform = CellStainJitter(prob=1.0, scale=0.5, shift=shift)
    lowest = min(transform(dict(img=glass))['img'].min() for _ in range(50))
    bound = 255 * np.exp(-shift * rgb_from_hed.sum(0).max())
    assert bound - 1 <= lowest and (lowest < 255) == (shift > 0)


def test_black_stays_dark():
    black = np.zeros((4, 4, 3), np.uint8)
    assert CellStainJitter(prob=1.0, scale=0.5)(dict(img=black))['img'].max() < 60
