# Copyright (c) CellVTA-MMSeg contributors.
"""From the maps of a window of a slide to its nuclei (plain numpy)."""
from typing import NamedTuple

import cv2
import numpy as np

from ..post_processing.instance_map import HoverConstants
from ..post_processing.instances import cell_tokens, find_nuclei, measure_nuclei
from ..structures.cell_table import CellTable, nucleus_outlines

# A nucleus whose centre lies so near to the window's own part is found by two windows,
# so that none is lost where they disagree a little; SeamFilter keeps one of them.
SLACK_UM = 2.0


class Window(NamedTuple):
    """Part of a slide at the network's scale, in px.

    Attributes:
        seen (tuple[int, int, int, int]): x1, y1, x2, y2 of the maps, maximum exclusive.
        own (tuple[int, int, int, int]): The same of the part that it answers for.
    """

    seen: tuple[int, int, int, int]
    own: tuple[int, int, int, int]


class NucleusSettings(NamedTuple):
    """How nuclei are found and measured.

    Attributes:
        constants (HoverConstants): Sizes in px of the enlarged maps.
        enlarge (int): Times that the maps are enlarged before.
        mpp (float): Resolution of the maps, µm/px.
        scale (tuple[float, float]): (x, y) px of level 0 per px of the maps.
    """

    constants: HoverConstants
    enlarge: int
    mpp: float
    scale: tuple[float, float]


def find_window_cells(maps: np.ndarray, image: np.ndarray, tokens: np.ndarray,
                      window: Window, settings: NucleusSettings) -> CellTable:
    """Find the nuclei whose centre lies in the window's own part or very near to it.

    Args:
        maps (np.ndarray): (4 + C, h, w) float16 or float32: NP probabilities, HV values
            (x first), NC probabilities.
        image (np.ndarray): (h, w, 3) uint8 RGB, the same place.
        tokens (np.ndarray): (D, h / 16, w / 16) float16, the same place, rounded up;
            D is 0 where cells are not to be described by them.
        window (Window): Where that is.
        settings (NucleusSettings): How to find them.

    Returns:
        CellTable: Nuclei in px of level 0, in the order in which they were found.
    """
    enlarge = settings.enlarge
    inst_map, found = find_nuclei(
        maps[:2], maps[2:4], maps[4:], settings.constants, enlarge)
    if enlarge > 1:
        image = cv2.resize(image, None, fx=enlarge, fy=enlarge)
    # px of the maps, from the slide's top left corner
    centroids = (found['centroids'].astype(np.float64) + 0.5) / enlarge
    centroids += window.seen[:2]
    near = np.flatnonzero(_is_near(centroids, window.own, SLACK_UM / settings.mpp))
    features = measure_nuclei(inst_map, image, settings.mpp / enlarge)
    scale = np.array(settings.scale)
    embeddings = None
    if len(tokens):
        embeddings = cell_tokens(tokens, found['bboxes'][near] / enlarge)
    return CellTable(
        centroids=centroids[near] * scale,
        labels=found['labels'][near],
        scores=found['scores'][near],
        class_probs=found['class_probs'][near],
        outlines=nucleus_outlines(
            [found['contours'][row] for row in near],
            offset=(window.seen[0] * enlarge, window.seen[1] * enlarge),
            scale=tuple(scale / enlarge)),
        features={name: column[near] for name, column in features.items()},
        embeddings=embeddings)


def _is_near(centroids: np.ndarray, own: tuple, slack: float) -> np.ndarray:
    """Which points (N, 2) lie in a rectangle x1, y1, x2, y2 grown by `slack`."""
    low, high = np.array(own[:2]) - slack, np.array(own[2:]) + slack
    return ((centroids >= low) & (centroids < high)).all(axis=1)
