# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from skimage.color import rgb_from_hed


def stained(hematoxylin, eosin, size=8):
    """A BGR picture of one mixture of stains, given as optical densities."""
    density = np.array([hematoxylin, eosin, 0]) @ rgb_from_hed
    rgb = np.rint(255 * np.exp(-density))
    return np.full((size, size, 3), rgb[::-1], np.uint8)


def build(**kwargs):
    return TRANSFORMS.build(dict(type='CellStainJitter', prob=1.0, **kwargs))


def test_without_strength_nothing_changes():
    img = np.random.randint(1, 256, (32, 32, 3), dtype=np.uint8)
    results = build(scale=0.0, shift=0.0)(dict(img=img.copy()))
    assert np.abs(results['img'].astype(int) - img).max() <= 1


def test_a_scaled_stain_is_the_same_stain_in_another_strength():
    transform = build(scale=0.5, shift=0.0)
    strengths = []
    for _ in range(50):
        changed = transform(dict(img=stained(0.8, 0.0)))['img'][0, 0, ::-1]
        density = -np.log(changed / 255)
        strengths.append(density @ np.linalg.inv(rgb_from_hed))
    amounts = np.array(strengths)
    assert np.abs(amounts[:, 1:]).max() < 0.05  # no eosin, no residual appears
    assert 0.35 < amounts[:, 0].min() < 0.5 and 1.1 < amounts[:, 0].max() < 1.25


def test_glass_stays_white_without_a_shift():
    img = np.full((4, 4, 3), 255, np.uint8)
    assert (build(scale=0.5, shift=0.0)(dict(img=img))['img'] == 255).all()


def test_the_shift_colours_glass_by_at_most_its_amount():
    img = np.full((4, 4, 3), 255, np.uint8)
    lowest = min(build(scale=0.0, shift=0.05)(dict(img=img))['img'].min()
                 for _ in range(50))
    assert 255 * np.exp(-0.05 * rgb_from_hed.sum(0).max()) - 1 <= lowest < 255


def test_black_stays_finite_and_labels_stay():
    inst_map = np.arange(16, dtype=np.int32).reshape(4, 4)
    results = build(scale=0.5)(dict(
        img=np.zeros((4, 4, 3), np.uint8), gt_inst_map=inst_map.copy(),
        seg_fields=['gt_inst_map']))
    assert results['img'].max() < 60 and results['img'].dtype == np.uint8
    np.testing.assert_array_equal(results['gt_inst_map'], inst_map)


def test_a_changed_picture_is_contiguous_bgr():
    results = build(shift=0.0)(dict(img=stained(0.0, 0.8)))
    assert results['img'].flags['C_CONTIGUOUS']
    blue, green, red = results['img'][0, 0].astype(int)
    assert red > blue > green  # eosin is pink


def test_a_wrong_probability_is_an_error():
    with pytest.raises(ValueError, match='CellStainJitter: prob=2'):
        TRANSFORMS.build(dict(type='CellStainJitter', prob=2))
