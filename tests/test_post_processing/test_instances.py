# Copyright (c) CellVTA-MMSeg contributors.
import ast
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.color import rgb2hed
from skimage.measure import regionprops_table

from mmseg_cellvta.post_processing import cell_tokens
from mmseg_cellvta.post_processing.instances import (
    describe_instances,
    measure_cytoplasm,
    measure_nuclei,
    rescale_instances,
)

PACKAGE = Path(__file__).parents[2] / 'mmseg_cellvta'
DISCS = [(20, 20, 9), (70, 30, 13), (100, 75, 11)]
# Each token holds its own row and column: 3 rows, 4 columns, 48 x 64 px.
TOKENS = np.stack(np.mgrid[:3, :4]).astype(np.float32)


def one_hot(class_map, num_classes):
    return np.eye(num_classes, dtype=np.float32)[class_map].transpose(2, 0, 1)


def check_agreement(inst_map, table):
    """Map and table must describe the same nuclei."""
    num = len(table['labels'])
    assert np.array_equal(np.unique(inst_map[inst_map > 0]), np.arange(1, num + 1))
    assert {len(column) for column in table.values()} == {num}
    for i in range(num):
        ys, xs = np.nonzero(inst_map == i + 1)
        np.testing.assert_allclose(
            table['centroids'][i], [xs.mean(), ys.mean()], rtol=1e-6)
        assert table['bboxes'][i].tolist() == [
            xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        for x, y in table['contours'][i]:
            assert inst_map[y, x] == i + 1


def test_discs_are_measured_exactly(draw_discs, perfect_maps):
    true = draw_discs((96, 128), DISCS)
    inst_map, table = describe_instances(true, perfect_maps(true, [2, 1, 3], 4)[2])
    np.testing.assert_array_equal(inst_map, true)
    check_agreement(inst_map, table)
    np.testing.assert_allclose(table['centroids'], [d[:2] for d in DISCS], atol=1e-4)
    assert table['bboxes'][0].tolist() == [11, 11, 30, 30]
    assert table['labels'].tolist() == [2, 1, 3]
    np.testing.assert_allclose(table['scores'], 0.7, rtol=1e-6)
    np.testing.assert_allclose(table['class_probs'].sum(axis=1), 1, rtol=1e-6)
    assert table['contours'][0].dtype == np.int32


def test_class_is_the_majority_of_the_pixels_not_the_mean_probability():
    inst_map = np.ones((2, 5), dtype=np.int32)
    nc_map = np.zeros((3, 2, 5))
    nc_map[1], nc_map[2] = 0.51, 0.49
    nc_map[:, :, 3:] = np.array([0, 0.0, 1.0])[:, None, None]
    _, table = describe_instances(inst_map, nc_map)
    assert table['labels'].tolist() == [1]
    np.testing.assert_allclose(table['scores'], [0.6 * 0.51], rtol=1e-6)
    np.testing.assert_allclose(
        table['class_probs'], [[0, 0.6 * 0.51, 0.6 * 0.49 + 0.4]], rtol=1e-6)


@pytest.mark.parametrize(('class_map', 'label'), [
    ([[3, 3, 2, 2], [0, 0, 0, 0]], 2),  # equal votes: the smallest id
    ([[2, 0, 0, 0], [0, 0, 0, 0]], 2)])  # one vote against background
def test_class_is_the_foreground_class_with_most_votes(class_map, label):
    _, table = describe_instances(
        np.ones((2, 4), np.int32), one_hot(np.array(class_map), 4))
    assert table['labels'].tolist() == [label]


def test_nucleus_of_background_votes_only_gets_its_most_probable_class(draw_discs):
    true = draw_discs((96, 128), DISCS)
    probs = np.array([[1, 0, 0], [0.1, 0.9, 0], [0.8, 0.05, 0.15], [0.6, 0.3, 0.1]])
    inst_map, table = describe_instances(true, probs[true].transpose(2, 0, 1))
    np.testing.assert_array_equal(inst_map, true)
    assert table['labels'].tolist() == [1, 2, 1]
    np.testing.assert_allclose(table['scores'], [0.9, 0.15, 0.3], rtol=1e-6)


def test_nucleus_of_background_votes_only_can_be_dropped_and_ids_close_up(draw_discs):
    true = draw_discs((96, 128), DISCS)
    class_map = np.array([0, 1, 0, 2])[true]
    inst_map, table = describe_instances(
        true, one_hot(class_map, 3), drop_background=True)
    np.testing.assert_array_equal(inst_map, np.array([0, 1, 0, 2])[true])
    assert table['labels'].tolist() == [1, 2]
    check_agreement(inst_map, table)


def test_line_without_an_area_is_dropped():
    inst_map = np.zeros((6, 9), dtype=np.int32)
    inst_map[1, 1:8] = 1
    inst_map[3:5, 1:8] = 2
    kept, table = describe_instances(inst_map, one_hot((inst_map > 0) * 1, 2))
    np.testing.assert_array_equal(kept, inst_map == 2)
    check_agreement(kept, table)


@pytest.mark.parametrize('flip', [1, -1])
def test_nucleus_in_two_parts_keeps_the_larger_contour(flip):
    inst_map = np.zeros((12, 12), dtype=np.int32)
    inst_map[0:3, 0:3], inst_map[5:11, 5:11] = 1, 1
    inst_map = inst_map[::flip, ::flip].copy()
    _, table = describe_instances(inst_map, one_hot(inst_map, 2))
    assert np.ptp(table['contours'][0], axis=0).tolist() == [5, 5]


def test_empty_map_gives_well_formed_columns():
    inst_map, table = describe_instances(np.zeros((8, 8), np.int32), np.ones((5, 8, 8)))
    shapes = {name: np.shape(column) for name, column in table.items()}
    assert shapes == dict(
        labels=(0,), scores=(0,), class_probs=(0, 5), centroids=(0, 2), bboxes=(0, 4),
        contours=(0,))
    assert not inst_map.any()
    rescaled, table = rescale_instances(inst_map, table, (16, 12))
    assert rescaled.shape == (16, 12) and table['bboxes'].shape == (0, 4)


def test_float16_probabilities_are_summed_in_full_precision():
    nc_map = np.stack([np.zeros((300, 300)), np.ones((300, 300))]).astype(np.float16)
    _, table = describe_instances(np.ones((300, 300), np.int32), nc_map)
    assert table['scores'].tolist() == [1.0] and table['scores'].dtype == np.float32


@pytest.mark.parametrize('factor', [2, 3])
def test_integer_rescaling_and_back_changes_nothing(factor, draw_discs, perfect_maps):
    true = draw_discs((96, 128), DISCS)
    start = describe_instances(true, perfect_maps(true, [2, 1, 3], 4)[2])
    large = rescale_instances(*start, (96 * factor, 128 * factor))
    check_agreement(*large)
    np.testing.assert_array_equal(large[0], np.kron(true, np.ones((factor, factor))))
    inst_map, table = rescale_instances(*large, (96, 128))
    np.testing.assert_array_equal(inst_map, true)
    for name, column in start[1].items():
        for row, expected in zip(table[name], column, strict=True):
            np.testing.assert_array_equal(row, expected)


def test_axes_scale_on_their_own(draw_discs, perfect_maps):
    true = draw_discs((96, 128), DISCS)
    start = describe_instances(true, perfect_maps(true, [2, 1, 3], 4)[2])
    inst_map, table = rescale_instances(*start, (48, 320))
    check_agreement(inst_map, table)
    # Pixel centres: x' = (x + 0.5) * scale - 0.5.
    expected = (start[1]['centroids'] + 0.5) * [2.5, 0.5] - 0.5
    np.testing.assert_allclose(table['centroids'], expected, atol=0.3)
    assert table['labels'].tolist() == [2, 1, 3]


def test_pixel_centres_are_sampled():
    inst_map = np.zeros((9, 9), np.int32)
    inst_map[1::3, 1::3] = np.arange(1, 10).reshape(3, 3)
    sampled, _ = rescale_instances(inst_map, dict(labels=np.ones(9)), (3, 3))
    np.testing.assert_array_equal(sampled, np.arange(1, 10).reshape(3, 3))


def test_nuclei_between_the_samples_vanish_and_ids_close_up(draw_discs, perfect_maps):
    true = draw_discs((64, 64), [(8, 8, 1), (40, 40, 16)])
    start = describe_instances(true, perfect_maps(true, [1, 2], 3)[2])
    inst_map, table = rescale_instances(*start, (6, 6))
    assert table['labels'].tolist() == [2] and len(table['contours']) == 1
    check_agreement(inst_map, table)


def test_the_same_size_changes_nothing(draw_discs, perfect_maps):
    true = draw_discs((96, 128), DISCS)
    start = describe_instances(true, perfect_maps(true, [2, 1, 3], 4)[2])
    inst_map, table = rescale_instances(*start, (96, 128))
    assert inst_map is start[0] and table is start[1]


@pytest.mark.parametrize('path', [
    'post_processing/instance_map.py', 'post_processing/instances.py',
    'datasets/transforms/hv_target.py', 'structures/cell_table.py'])
def test_plain_modules_import_neither_torch_nor_openmmlab(path):
    tree = ast.parse((PACKAGE / path).read_text(encoding='utf-8'))
    imported = {alias.name.split('.')[0] for node in ast.walk(tree)
                if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or '').split('.')[0] for node in ast.walk(tree)
                 if isinstance(node, ast.ImportFrom) and node.level == 0}
    assert 'numpy' in imported
    assert not {m for m in imported if m.startswith(('mm', 'torch'))}


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


@pytest.mark.parametrize(('box', 'row_column'), [
    ((0, 0, 16, 16), (0, 0)),  # exactly one token
    ((16, 32, 17, 33), (2, 1)),  # one pixel
    ((15, 0, 17, 16), (0, 0.5)),  # over a seam between two columns
    ((0, 0, 64, 48), (1, 1.5)),  # everything
    ((20.4, 15.9, 31.6, 16.1), (0.5, 1)),  # fractions of a px, after scaling
])
def test_a_nucleus_is_the_mean_of_the_tokens_that_its_box_touches(box, row_column):
    np.testing.assert_allclose(cell_tokens(TOKENS, np.array([box])), [row_column])


def test_nuclei_keep_their_order_and_none_gives_none():
    boxes = np.array([[48, 0, 50, 2], [0, 0, 2, 2]])
    np.testing.assert_array_equal(cell_tokens(TOKENS, boxes)[:, 1], [3, 0])
    assert cell_tokens(TOKENS, np.zeros((0, 4), np.int32)).shape == (0, 2)


@pytest.mark.parametrize('box', [(60, 0, 70, 16), (-1, 0, 4, 4), (16, 8, 16, 12)])
def test_a_box_outside_or_empty_is_named(box):
    with pytest.raises(ValueError, match=rf'box \[{box[0]}.0, .* inside the 64 x 48'):
        cell_tokens(TOKENS, np.array([box]))


def test_cells_have_the_area_of_all_and_the_stain_of_the_rest():
    cell_map = np.array([[1, 1, 1, -3], [2, 2, 0, -3], [3, 3, 3, 0]], np.int32)
    nuclei = np.array([[7, 0, 0, 5], [6, 6, 0, 0], [0, 8, 8, 9]], np.int32)
    image = np.full((3, 4, 3), 255, np.uint8)
    image[0, 1:3] = (120, 60, 150), (60, 60, 150)  # of two pixels the mean
    image[2, 0] = 220, 120, 160
    found = measure_cytoplasm(nuclei, cell_map, image, mpp=0.5)
    assert found['cell_area_um2'].tolist() == [0.75, 0.5, 0.75]
    for row, pixels in ((0, image[0, 1:3]), (2, image[2, :1])):
        whole = measure_nuclei(np.ones((1, len(pixels)), np.int32), pixels[None], 0.5)
        for stain in ('hematoxylin_od', 'eosin_od'):
            assert found[f'cytoplasm_{stain}'][row] == pytest.approx(whole[stain][0])
            assert np.isnan(found[f'cytoplasm_{stain}'][1])  # all of it is nucleus
    none = measure_cytoplasm(0 * nuclei, 0 * cell_map, image, mpp=0.5)
    assert [len(column) for column in none.values()] == [0, 0, 0]
