# Copyright (c) CellVTA-MMSeg contributors.
"""Tiles that cover a line or a picture with overlap."""


def tile_starts(length: int, size: int, stride: int) -> list[int]:
    """First px of each tile along one axis; the last one ends at the border.

    Args:
        length (int): Length of the picture, px.
        size (int): Length of a tile, px. A shorter picture has one tile, at 0.
        stride (int): Distance of two tiles, px, at most `size`.

    Raises:
        ValueError: If `stride` is not in 1..`size`: pixels would be left out.
    """
    if not 0 < stride <= size:
        raise ValueError(f'stride={stride} px for tiles of {size} px: expected 1 to '
                         f'{size}, so that no pixel is left out')
    last = max(length - size, 0)
    return [*range(0, last, stride), last]
