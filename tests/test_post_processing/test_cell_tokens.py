# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.post_processing import cell_tokens

# Each token holds its own row and column: 3 rows, 4 columns, 48 x 64 px.
TOKENS = np.stack(np.mgrid[:3, :4]).astype(np.float32)


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


def test_another_stride():
    np.testing.assert_array_equal(
        cell_tokens(TOKENS, np.array([[8, 8, 12, 12]]), stride=4), [[2, 2]])


@pytest.mark.parametrize('box', [(60, 0, 70, 16), (-1, 0, 4, 4), (16, 8, 16, 12)])
def test_a_box_outside_or_empty_is_named(box):
    with pytest.raises(ValueError, match=rf'box \[{box[0]}.0, .* inside the 64 x 48'):
        cell_tokens(TOKENS, np.array([box]))
