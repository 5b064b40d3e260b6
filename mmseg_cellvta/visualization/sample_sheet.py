# Copyright (c) CellVTA-MMSeg contributors.
"""One picture that shows a training sample with all of its targets."""
from collections.abc import Sequence

import numpy as np

from ..evaluation.functional import instance_classes
from .drawing import draw_cells, draw_panels

MIN_SIDE_PX = 512  # of a panel; smaller pictures are enlarged
LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR = (33, 102, 172), (247, 247, 247), (178, 24, 43)
GROUND_COLOR = (190, 190, 190)
CLASS_GROUND = 232  # grey, unlike every class and the paper around it
OUTLINE_COLOR = (40, 40, 40)
HV_LEGEND = [('-1, left or upper side', LOW_COLOR), ('0, centre', MIDDLE_COLOR),
             ('+1, right or lower side', HIGH_COLOR), ('no nucleus', GROUND_COLOR)]


def draw_sample_sheet(
        title: str, image: np.ndarray, inst_map: np.ndarray, class_map: np.ndarray,
        hv_map: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Draw outlines, both distance maps and classes side by side.

    Args:
        title (str): Line above everything.
        image (np.ndarray): RGB picture, (H, W, 3) uint8, 0-255.
        inst_map (np.ndarray): (H, W) integer, 0 background, positive ids.
        class_map (np.ndarray): (H, W) integer class ids.
        hv_map (np.ndarray): (2, H, W) in [-1, 1], horizontal first.
        classes (Sequence[str]): Class names, background first.
        palette (Sequence[Sequence[int]]): One RGB colour, 0-255, per class.

    Returns:
        np.ndarray: RGB picture, uint8, 0-255.
    """
    scale = max(1, -(-MIN_SIDE_PX // min(image.shape[:2])))
    inst_map = inst_map.astype(np.int32)
    inst_classes, _ = instance_classes(inst_map, class_map)
    inside = inst_map > 0
    colored = np.where(inside[..., None], np.asarray(palette, np.uint8)[class_map],
                       np.uint8(CLASS_GROUND))

    def outline(drawing):
        return draw_cells(drawing, inst_map, np.zeros_like(inst_classes),
                          [OUTLINE_COLOR], scale)

    panels = [
        (f'Picture: {len(inst_classes)} nuclei',
         draw_cells(image, inst_map, inst_classes, palette, scale)),
        ('Horizontal map: from left to right',
         outline(color_distances(hv_map[0], inside))),
        ('Vertical map: from top to bottom',
         outline(color_distances(hv_map[1], inside))),
        ('Classes', outline(colored))]
    counts = np.bincount(inst_classes, minlength=len(classes))
    legend = [(f'{name} {counts[class_id]}', palette[class_id])
              for class_id, name in enumerate(classes) if class_id]
    return draw_panels([(title, draw_panels(panels, HV_LEGEND))], legend)


def color_distances(channel: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Blue for -1 over white for 0 to red for 1, and grey where no nucleus is.

    Args:
        channel (np.ndarray): (H, W) in [-1, 1].
        inside (np.ndarray): (H, W) bool, where nuclei are.

    Returns:
        np.ndarray: RGB picture, (H, W, 3) uint8.
    """
    stops = np.array([LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR])
    colors = np.stack(
        [np.interp(channel, [-1, 0, 1], values) for values in stops.T], axis=-1)
    return np.where(inside[..., None], np.rint(colors).astype(np.uint8),
                    np.uint8(GROUND_COLOR))
