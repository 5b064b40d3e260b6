# Copyright (c) CellVTA-MMSeg contributors.
"""The maps together with the deepest features: whole, in tiles, padded, flipped."""
import pytest
import torch
from mmengine.config import ConfigDict
from tiny_models import CLASSES, DIMS, SEGMENTOR, build, square_sample


@pytest.fixture
def model():
    return build(SEGMENTOR).eval()


@pytest.fixture
def sliding(model):
    """Sets the tiles of the model, in px."""
    def set_tiles(crop_size, stride):
        model.test_cfg = ConfigDict(mode='slide', crop_size=crop_size, stride=stride)
        return model

    return set_tiles


def predict(model, inputs, **meta):
    with torch.no_grad():
        return model.predict_maps_and_tokens(
            inputs, [square_sample(**meta) for _ in inputs])


def test_maps_are_those_without_tokens_and_tokens_the_deepest_features(model):
    inputs = torch.randn(2, 3, 64, 96)
    results = predict(model, inputs)
    with torch.no_grad():
        expected = model.predict_maps(inputs, [square_sample(), square_sample()])
        deepest = model.extract_feat(inputs)[4]
    assert deepest.shape == (2, DIMS, 4, 6)
    for i, (maps, tokens) in enumerate(results):
        torch.testing.assert_close(maps, expected[i])
        torch.testing.assert_close(tokens, deepest[i])


def test_one_tile_equals_the_whole_and_more_cover_it(model, sliding):
    inputs = torch.randn(1, 3, 64, 96)
    (whole_maps, whole_tokens), = predict(model, inputs)
    (maps, tokens), = predict(sliding((64, 96), (64, 96)), inputs)
    torch.testing.assert_close(maps, whole_maps)
    torch.testing.assert_close(tokens, whole_tokens)
    (maps, tokens), = predict(sliding((64, 64), (32, 32)), inputs)
    assert tokens.shape == whole_tokens.shape and maps.shape == whole_maps.shape
    with torch.no_grad():
        alone = model.predict_maps(inputs, [square_sample()])[0]
    torch.testing.assert_close(maps, alone)


def test_tokens_blend_as_the_maps_do(sliding):
    """A stand-in network whose tokens and maps say which image rows they saw."""
    model = sliding((64, 64), (32, 32))
    inputs = torch.arange(96.0)[:, None].expand(1, 3, 96, 96)

    def first_row_everywhere(tile, _):
        seen = tile[:, :1, :1, :1]
        return (seen.expand(1, 4 + CLASSES, *tile.shape[2:]),
                seen.expand(1, DIMS, tile.shape[2] // 16, tile.shape[3] // 16))

    model.encode_decode_tokens = first_row_everywhere
    (maps, tokens), = predict(model, inputs)
    # Tiles begin at rows 0 and 32; they share two rows of tokens, weights 3:1, 1:3.
    expected = torch.tensor([0, 0, 8, 24, 32, 32.0])
    torch.testing.assert_close(tokens[0, :, 0], expected)
    centres = maps[0, 7::16, 0] + maps[0, 8::16, 0]
    torch.testing.assert_close(centres / 2, expected)


@pytest.mark.parametrize('tiles', [((64, 64), (40, 40)), ((72, 64), (32, 32))])
def test_tiles_off_the_grid_of_tokens_are_refused(sliding, tiles):
    with pytest.raises(ValueError, match='tokens need multiples of 16 px'):
        predict(sliding(*tiles), torch.zeros(1, 3, 96, 96))


def test_padding_is_cut_off_to_the_tokens_that_the_image_touches(model):
    padded = dict(img_padding_size=(0, 36, 0, 15))  # left, right, top, bottom
    (maps, tokens), = predict(model, torch.randn(1, 3, 64, 96), **padded)
    assert maps.shape[1:] == (49, 60)
    assert tokens.shape == (DIMS, 4, 4)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_a_flipped_view_is_turned_back(model, direction):
    inputs = torch.randn(1, 3, 64, 96)
    (_, seen), = predict(model, inputs)
    (_, tokens), = predict(model, inputs, flip=True, flip_direction=direction)
    axis = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])[direction]
    torch.testing.assert_close(tokens, seen.flip(axis))


def test_a_flipped_view_with_padding_is_refused(model):
    with pytest.raises(ValueError, match='flipped image of 64 x 60 px'):
        predict(model, torch.zeros(1, 3, 64, 64), flip=True,
                flip_direction='horizontal', img_padding_size=(0, 4, 0, 0))
