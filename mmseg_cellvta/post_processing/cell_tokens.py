# Copyright (c) CellVTA-MMSeg contributors.
"""What the encoder saw of each nucleus (plain numpy)."""
import numpy as np

TOKEN_STRIDE = 16  # px, one ViT patch: a token's side in the network's grid


def cell_tokens(tokens: np.ndarray, bboxes: np.ndarray,
                stride: int = TOKEN_STRIDE) -> np.ndarray:
    """Describe each nucleus by the mean of the tokens that its box touches.

    As CellViT++ does (arXiv:2501.05269): from floor(min / 16) to ceil(max / 16).

    Args:
        tokens (np.ndarray): (D, h, w) float, one token per `stride` x `stride` px.
        bboxes (np.ndarray): (N, 4) x1, y1, x2, y2 in px of the grid that the network
            saw, maximum exclusive; fractions of a px are fine.
        stride (int): Side of a token, px. Defaults to 16.

    Returns:
        np.ndarray: (N, D) float32.

    Raises:
        ValueError: If a box is empty or lies outside the tokens.
    """
    bboxes = np.asarray(bboxes, dtype=np.float64).reshape(-1, 4)
    starts = np.floor(bboxes[:, :2] / stride).astype(np.int64)
    stops = np.ceil(bboxes[:, 2:] / stride).astype(np.int64)
    grid = tokens.shape[:0:-1]  # columns, rows
    wrong = ((starts < 0) | (stops > grid) | (starts >= stops)).any(axis=1)
    if wrong.any():
        raise ValueError(
            f'box {bboxes[wrong][0].tolist()} (x1, y1, x2, y2 px): expected a box with '
            f'pixels inside the {grid[0] * stride} x {grid[1] * stride} px that the '
            'tokens cover; bring boxes to the pixels of the network first')
    means = np.empty((len(bboxes), len(tokens)), dtype=np.float32)
    for row, ((x1, y1), (x2, y2)) in enumerate(zip(starts, stops, strict=True)):
        means[row] = tokens[:, y1:y2, x1:x2].mean(axis=(1, 2))
    return means
