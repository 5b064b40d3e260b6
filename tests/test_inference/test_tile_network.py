# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample
from tiny_models import CLASSES, DIMS, SEGMENTOR, build

from mmseg_cellvta.inference.tile_network import TileNetwork


@pytest.fixture(scope='module')
def model():
    return build(SEGMENTOR).eval()


def test_maps_are_those_of_the_test_pipeline(model):
    tiles = np.random.default_rng(0).integers(0, 255, (2, 64, 48, 3), np.uint8)
    maps, tokens = TileNetwork(model)(torch.from_numpy(tiles))
    assert tokens.shape == (2, 0, 4, 3)
    assert maps.shape == (2, 4 + CLASSES, 64, 48) and maps.dtype == np.float32
    bgr = [torch.from_numpy(tile[..., ::-1].transpose(2, 0, 1).copy())
           for tile in tiles]
    samples = [SegDataSample(metainfo=dict(ori_shape=(64, 48), img_shape=(64, 48)))
               for _ in bgr]
    data = model.data_preprocessor(dict(inputs=bgr, data_samples=samples))
    with torch.no_grad():
        expected = torch.stack(model.predict_maps(**data)).numpy()
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    np.testing.assert_allclose(maps[:, :2].sum(axis=1), 1, atol=1e-5)


def test_tokens_come_with_the_same_maps(model):
    tiles = torch.randint(0, 255, (2, 64, 48, 3), dtype=torch.uint8)
    maps, tokens = TileNetwork(model, with_tokens=True)(tiles)
    assert tokens.shape == (2, DIMS, 4, 3) and tokens.dtype == np.float32
    np.testing.assert_array_equal(maps, TileNetwork(model)(tiles)[0])


def test_half_precision_is_close(model):
    tiles = torch.randint(0, 255, (1, 64, 64, 3), dtype=torch.uint8)
    (full, _), (half, _) = (
        TileNetwork(model, amp)(tiles) for amp in (False, True))
    assert half.dtype == np.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05)


@pytest.mark.parametrize(('seconds', 'expected'), [
    ({1: 1.0, 2: 0.6, 4: 0.4, 8: 0.39}, 4),  # 8 gains too little
    ({1: 1.0, 2: 1.1}, 1),
    ({1: 1.0, 2: 0.5}, 2),  # 4 does not fit
    ({2**i: 0.5**i for i in range(7)}, 64),
])
def test_the_batch_grows_while_that_pays_and_fits(
        model, monkeypatch, seconds, expected):
    def time_batch(self, batch_size, tile):
        if batch_size not in seconds:
            raise torch.OutOfMemoryError
        return seconds[batch_size]

    monkeypatch.setattr(TileNetwork, '_seconds', time_batch)
    assert TileNetwork(model).find_batch_size((256, 256)) == expected


def test_trying_really_runs_the_network(model):
    assert TileNetwork(model).find_batch_size((32, 32)) in (1, 2, 4, 8, 16, 32, 64)
