# Copyright (c) CellVTA-MMSeg contributors.
"""What an instance map shows that is no nucleus: masks, merged outlines, frames."""
import numpy as np

from .health_checks import Pieces, find_frames

PIECES_PER_ID = 2  # on average: nuclei of a map are whole, a few are cut


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
    height, width = inst_map.shape
    for inst_id, (rows, cols) in find_frames(pieces, inst_map.shape).items():
        raise ValueError(
            f'{name}: instance {inst_id} reaches over {cols} x {rows} px of an image '
            f'of {width} x {height} px; this is a frame or the background, not a '
            'nucleus: delete it')
    ids = np.unique(pieces.ids)
    if len(ids) and len(pieces.ids) >= PIECES_PER_ID * len(ids):
        found = f'one id, {ids[0]},' if len(ids) == 1 else f'{len(ids)} ids'
        raise ValueError(
            f'{name}: {found} in {len(pieces.ids)} separate pieces; expected an id '
            'for each nucleus. If nuclei do not touch, number them with '
            'skimage.measure.label; split merged outlines in QuPath')
