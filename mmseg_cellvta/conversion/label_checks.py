# Copyright (c) CellVTA-MMSeg contributors.
"""What an instance map shows that is no nucleus: masks, merged outlines, frames."""
import numpy as np

from .health_checks import Pieces

PIECES_PER_ID = 2  # on average: nuclei of a map are whole, a few are cut
FRAME_SHARE = 0.9  # of the height and of the width of the image


def check_instances(inst_map: np.ndarray, name: str) -> None:
    """Refuses maps in which an id does not stand for a nucleus.

    Args:
        inst_map: Instance ids, integer (H, W); 0 and below is no nucleus.
        name: The file, for errors.

    Raises:
        ValueError: When ids are in several pieces, as in a mask or a map of classes, or
            one is as large as the image.
    """
    pieces = Pieces.of(np.maximum(inst_map, 0))
    ids, first = np.unique(pieces.ids, return_index=True)
    if not len(ids):
        return
    _check_frames(ids, np.minimum.reduceat(pieces.boxes[:, :2], first),
                  np.maximum.reduceat(pieces.boxes[:, 2:], first),
                  inst_map.shape, name)
    if len(pieces.ids) >= PIECES_PER_ID * len(ids):
        found = f'one id, {ids[0]},' if len(ids) == 1 else f'{len(ids)} ids'
        raise ValueError(
            f'{name}: {found} in {len(pieces.ids)} separate pieces; expected an id '
            'for each nucleus. If nuclei do not touch, number them with '
            'skimage.measure.label; split merged outlines in QuPath')


def _check_frames(ids: np.ndarray, starts: np.ndarray, stops: np.ndarray,
                  shape: tuple[int, int], name: str) -> None:
    """Refuses an id whose box, top left to bottom right corner, is that of the image.

    Args:
        ids: Instance ids, (N,).
        starts: Top and left of each, (N, 2), px.
        stops: Bottom and right of each, (N, 2), px, exclusive.
        shape: (height, width) of the image, px.
        name: The file, for errors.
    """
    frames = (stops - starts >= FRAME_SHARE * np.array(shape)).all(axis=1)
    if frames.any():
        index = frames.argmax()
        height, width = stops[index] - starts[index]
        raise ValueError(
            f'{name}: instance {ids[index]} reaches over {width} x {height} px of an '
            f'image of {shape[1]} x {shape[0]} px; this is a frame or the background, '
            'not a nucleus: delete it')
