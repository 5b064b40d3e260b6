# Copyright (c) CellVTA-MMSeg contributors.
import torch

from mmseg_cellvta.models.layers.tokens import (
    map_to_tokens,
    token_levels,
    tokens_to_map,
)


def test_tokens_are_the_places_of_a_map_row_by_row():
    feature_map = torch.arange(2 * 3 * 4.0).view(1, 2, 3, 4)
    tokens = map_to_tokens(feature_map)
    assert tokens[0, :, 0].tolist() == list(range(12))
    assert tokens_to_map(tokens, (3, 4)).equal(feature_map)


def test_levels_say_where_their_tokens_lie():
    levels = token_levels(((2, 4), (1, 2)), torch.device('cpu'))
    assert levels.shapes == ((2, 4), (1, 2)) and levels.lengths == [8, 2]
    assert levels.sizes.tolist() == [[4, 2], [2, 1]]
    assert levels.sizes.dtype == levels.centres.dtype == torch.float32
    assert levels.shape_rows.tolist() == [[2, 4], [1, 2]]
    assert levels.starts.tolist() == [0, 8]
    assert levels.shape_rows.dtype == levels.starts.dtype == torch.int64
    points = [(x, y) for y in (0.25, 0.75) for x in (0.125, 0.375, 0.625, 0.875)]
    points += [(0.25, 0.5), (0.75, 0.5)]
    assert levels.centres[0, :, 0].tolist() == [list(point) for point in points]
