# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.datasets.transforms.hv_target import hv_target

# One axis of the target of an n x n square.
SQUARES = {
    1: [1],
    2: [0, 1],
    3: [0, 1 / 2, 1],
    4: [-1, 0, 1 / 2, 1],
    5: [-1, 0, 1 / 3, 2 / 3, 1],
    6: [-1, -1 / 2, 0, 1 / 3, 2 / 3, 1],
    7: [-1, -1 / 2, 0, 1 / 4, 1 / 2, 3 / 4, 1]}


@pytest.mark.parametrize('side', SQUARES)
@pytest.mark.parametrize('corner', [(0, 0), (1, 1), (5, 9), (13, 33)])
def test_square_gives_published_values(side, corner):
    row, col = corner
    inst_map = np.zeros((20, 40), dtype=np.int32)
    inst_map[row:row + side, col:col + side] = 3
    hv_map = hv_target(inst_map)
    crop = hv_map[:, row:row + side, col:col + side]
    line = np.array(SQUARES[side], dtype=np.float32)
    np.testing.assert_array_equal(crop[0], np.tile(line, (side, 1)))
    np.testing.assert_array_equal(crop[1], crop[0].T)
    assert np.abs(hv_map).sum() == pytest.approx(np.abs(crop).sum())


def test_x_comes_first_and_y_second():
    inst_map = np.ones((1, 4), dtype=np.int32)
    np.testing.assert_array_equal(
        hv_target(inst_map), np.float32([[[-1, 0, 0.5, 1]], [[1, 1, 1, 1]]]))


def test_each_side_is_scaled_on_its_own():
    # An L: the centre of mass lies towards the corner, both arms still end at +-1.
    inst_map = np.zeros((12, 12), dtype=np.uint16)
    inst_map[1:11, 1:4] = 700
    inst_map[8:11, 1:11] = 700
    hv_map = hv_target(inst_map)
    for channel in hv_map:
        assert channel.min() == -1 and channel.max() == 1
    assert not hv_map[:, inst_map == 0].any()


def test_nuclei_do_not_influence_each_other():
    rng = np.random.default_rng(0)
    inst_map = np.kron(rng.integers(0, 4, (6, 6)), np.ones((5, 5), dtype=np.int64))
    expected = sum(
        hv_target(np.where(inst_map == i, i, 0)) for i in np.unique(inst_map) if i)
    np.testing.assert_array_equal(hv_target(inst_map), expected)


@pytest.mark.parametrize(('dtype', 'number'), [
    (np.uint8, 250), (np.uint16, 65535), (np.int32, 70000), (np.int64, 2**62)])
def test_ids_are_only_names_and_huge_ones_cost_no_memory(dtype, number):
    inst_map = np.zeros((8, 16), dtype=dtype)
    inst_map[1:6, 1:5], inst_map[2:8, 8:15] = 1, 2
    renamed = np.array([0, number, 7], dtype=dtype)[inst_map]
    np.testing.assert_array_equal(hv_target(inst_map), hv_target(renamed))


def test_empty_map_and_map_without_background():
    empty = hv_target(np.zeros((5, 7), dtype=np.int32))
    assert empty.shape == (2, 5, 7) and empty.dtype == np.float32 and not empty.any()
    full = hv_target(np.full((5, 5), 9, dtype=np.int32))
    np.testing.assert_array_equal(full[0, 0], np.float32(SQUARES[5]))


@pytest.mark.parametrize('bad', [
    np.zeros((1, 4, 4), dtype=np.int32), np.zeros((4, 4), dtype=np.float32)])
def test_wrong_map_is_named(bad):
    with pytest.raises(ValueError, match=r'inst_map: shape .* expected \(H, W\)'):
        hv_target(bad)


@pytest.mark.parametrize('name', ['post_256_40x', 'post_256_20x', 'post_192x320_40x'])
def test_equals_released_code(name, shared_dir):
    golden = np.load(shared_dir / 'golden' / f'{name}.npz')
    np.testing.assert_array_equal(hv_target(golden['gt_inst']), golden['gt_hv'])
