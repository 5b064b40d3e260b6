# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from skimage.color import rgb2hed
from skimage.measure import regionprops_table

from mmseg_cellvta.post_processing.instances import measure_nuclei


def ellipses(num=30):
    rng = np.random.default_rng(0)
    inst_map = np.zeros((300, 300), np.int32)
    for inst_id in range(num):
        centre = (25 + 50 * (inst_id % 6), 25 + 50 * (inst_id // 6))
        axes = tuple(map(int, rng.integers(5, 20, 2)))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(inst_map, centre, axes, angle, 0, 360, inst_id + 1, -1)
    return inst_map, rng.integers(0, 255, (300, 300, 3), np.uint8)


def test_sizes_and_shapes_are_those_of_scikit_image():
    inst_map, image = ellipses()
    features = measure_nuclei(inst_map, image, mpp=0.25)
    expected = regionprops_table(inst_map, properties=(
        'area', 'axis_major_length', 'axis_minor_length', 'eccentricity'))
    np.testing.assert_allclose(features['area_um2'], expected['area'] / 16, rtol=1e-6)
    # Its pixels are points, ours squares: 0.1 px at most, less for larger nuclei.
    for ours, theirs in (('major_axis_um', 'axis_major_length'),
                         ('minor_axis_um', 'axis_minor_length')):
        np.testing.assert_allclose(features[ours], expected[theirs] / 4, atol=0.025)
    np.testing.assert_allclose(
        features['eccentricity'], expected['eccentricity'], atol=0.02)


def test_a_rectangle_has_the_axes_of_its_moments():
    inst_map = np.zeros((20, 60), np.int32)
    inst_map[5:15, 10:50] = 1  # 10 x 40 px
    features = measure_nuclei(inst_map, np.zeros((20, 60, 3), np.uint8), mpp=0.5)
    assert features['major_axis_um'] == pytest.approx(4 * 40 / np.sqrt(12) / 2)
    assert features['minor_axis_um'] == pytest.approx(4 * 10 / np.sqrt(12) / 2)
    assert features['eccentricity'] == pytest.approx(np.sqrt(15) / 4)


def test_stains_are_means_of_scikit_image_over_the_pixels():
    inst_map, image = ellipses()
    features = measure_nuclei(inst_map, image, mpp=0.25)
    # scikit-image counts densities in powers of a millionth, we in powers of ten.
    stains = rgb2hed(np.maximum(image, 1)) * 6
    for channel, name in ((0, 'hematoxylin_od'), (1, 'eosin_od')):
        expected = [stains[..., channel][inst_map == inst_id].mean()
                    for inst_id in range(1, 31)]
        np.testing.assert_allclose(features[name], expected, rtol=1e-3)


def test_one_pixel_and_no_nucleus_have_finite_features():
    inst_map = np.zeros((8, 8), np.int32)
    image = np.full((8, 8, 3), 255, np.uint8)
    assert all(column.shape == (0,) for column in measure_nuclei(
        inst_map, image, 0.25).values())
    inst_map[3, 3] = 1
    features = measure_nuclei(inst_map, image, 0.25)
    assert all(np.isfinite(column).all() for column in features.values())
    assert features['eccentricity'] == 0 and features['hematoxylin_od'] == 0
