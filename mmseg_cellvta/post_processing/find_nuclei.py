# Copyright (c) CellVTA-MMSeg contributors.
"""From the maps of a picture to its nuclei (plain numpy, OpenCV)."""
import cv2
import numpy as np

from .instance_map import HoverConstants, segment_instances
from .instances import describe_instances


def find_nuclei(np_map: np.ndarray, hv_map: np.ndarray, nc_map: np.ndarray,
                constants: HoverConstants,
                enlarge: int = 1) -> tuple[np.ndarray, dict]:
    """Find and classify the nuclei, on maps that are enlarged before if asked for.

    Args:
        np_map (np.ndarray): (2, H, W) float, probability of background and nucleus.
        hv_map (np.ndarray): (2, H, W) float, raw network output, x first.
        nc_map (np.ndarray): (C, H, W) float, class probabilities, 0-1.
        constants (HoverConstants): Sizes in pixels of the enlarged maps.
        enlarge (int): Times that the maps are enlarged, linearly.

    Returns:
        tuple[np.ndarray, dict]: (enlarge * H, enlarge * W) int32 map with ids 1..N
        without gaps, and its table, see `describe_instances`.
    """
    if enlarge > 1:
        np_map, hv_map, nc_map = (
            _enlarge(maps, enlarge) for maps in (np_map, hv_map, nc_map))
    inst_map = segment_instances(np_map, hv_map, constants)
    # As published, NC may veto what NP and HV found, and one that has learned little
    # vetoes most nuclei.
    return describe_instances(
        inst_map, nc_map, drop_background=constants.markers == 'hovernet')


def _enlarge(maps: np.ndarray, factor: int) -> np.ndarray:
    """Maps (C, H, W) as float32 (C, factor * H, factor * W)."""
    channels, height, width = maps.shape
    enlarged = np.empty((channels, factor * height, factor * width), np.float32)
    for channel, target in zip(maps.astype(np.float32), enlarged, strict=True):
        cv2.resize(channel, target.shape[::-1], dst=target)
    return enlarged
