# Copyright (c) CellVTA-MMSeg contributors.
"""From the NP and HV maps to an instance map (plain numpy, OpenCV, scikit-image)."""
import math
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.segmentation import watershed

MARKER_MODES = ('hovernet', 'rising')
# Edge strength from which a pixel separates two nuclei instead of marking one.
EDGE_THRESHOLD = dict(hovernet=0.4, rising=0.0)
# Reach of the Sobel kernel to each side. Rising markers need no wide one, because they
# are not compared with the steepest place of the whole map.
SOBEL_REACH_UM = dict(hovernet=2.5, rising=1.0)
# Radius of the disc that cleans rising markers; HoVer-Net's is 5 px wide anywhere.
OPENING_UM = 0.3
# How far from a border rising markers' HV maps are compared, see `merge_fragments`.
BORDER_REACH_UM = 0.5
# Foreground without a rising marker that is still a nucleus: a seventh of a lymphocyte.
MIN_UNMARKED_UM2 = 5.0
# By how much HV falls across a border. Between two whole nuclei it falls from 1 to -1;
# within one it rises, however little its network is sure of.
MIN_FALL = 0.05
# From which rise of its mean on two neighbours are parts: every whole nucleus spans
# HV's values on both sides of 0. Without this rule a crescent around another nucleus,
# whose HV may rise at their border, would be joined to it.
MIN_RISE = 0.2


class HoverConstants(NamedTuple):
    """What the marker-controlled watershed goes by; sizes in pixels.

    Attributes:
        sobel_ksize (int): Side of the Sobel kernel, odd.
        min_marker_area (int): Markers with fewer pixels are dropped.
        min_blob_area (int): Foreground components with fewer pixels are dropped.
        opening_side (int): Side of the disc that cleans the markers, odd.
        min_unmarked_area (float): Foreground components without a marker and with
            fewer pixels are dropped.
        border_reach (int): How far from a border between two nuclei HV is read.
        markers (str): What marks a nucleus, see `hover_constants`.
        min_confidence (float): Nuclei with a lower mean NP probability are dropped.
    """

    sobel_ksize: int
    min_marker_area: int
    min_blob_area: int
    opening_side: int
    min_unmarked_area: float
    border_reach: int
    markers: str
    min_confidence: float


def hover_constants(mpp: float, markers: str = 'hovernet',
                    min_confidence: float = 0.0) -> HoverConstants:
    """Sizes that mean the same tissue at any resolution.

    'hovernet' marks nuclei as HoVer-Net and the released CellVTA do: where the slopes
    of the HV maps, stretched between the extremes of the whole map, exceed a threshold.
    Its sizes equal the published ones where those exist: 21, 10, 10 px at 0.25 µm/px
    (40x) and 11, 3, 10 px at 0.5 µm/px (20x). Thin nuclei at 20x have no marker and are
    dropped, and one steep place hides the nuclei of a whole map.

    'rising' marks them where both HV maps rise along their axes, which no other place
    of the map can change; foreground without a marker is one nucleus, and so are
    neighbours over which HV rises as over one, see `merge_fragments`. A nucleus whose
    pixels are all classified as background stays; 'hovernet' drops it.

    The Sobel kernel reaches 2.5 µm (1 µm) to each side, up to OpenCV's limit of 15
    px; a marker covers at least 0.625 µm². Foreground components are kept from 10 px
    on, as long as that lies between 0.625 and 2.5 µm².

    Args:
        mpp (float): Resolution of the maps in µm/px.
        markers (str): 'hovernet' or 'rising'.
        min_confidence (float): Nuclei whose pixels have a lower mean probability of
            being nucleus are dropped, 0-1.

    Raises:
        ValueError: If `mpp` is not a positive finite number, `markers` is unknown, or
            `min_confidence` is no probability.
    """
    if not (mpp > 0 and math.isfinite(mpp)):
        raise ValueError(f'mpp={mpp}: expected µm/px above 0, such as 0.25 for 40x.')
    if markers not in MARKER_MODES:
        raise ValueError(f'markers={markers!r}: choose from {list(MARKER_MODES)}')
    if not 0 <= min_confidence <= 1:
        raise ValueError(
            f'min_confidence={min_confidence}: expected a probability, 0 to 1')
    released = markers == 'hovernet'
    reach = min(max(round(SOBEL_REACH_UM[markers] / mpp), 1), 15)
    smallest, largest = (math.ceil(area / mpp**2) for area in (0.625, 2.5))
    return HoverConstants(
        sobel_ksize=2 * reach + 1,
        min_marker_area=smallest,
        min_blob_area=min(max(10, smallest), largest),
        opening_side=5 if released else 2 * round(OPENING_UM / mpp) + 1,
        min_unmarked_area=math.inf if released else MIN_UNMARKED_UM2 / mpp**2,
        border_reach=round(BORDER_REACH_UM / mpp),
        markers=markers,
        min_confidence=min_confidence)


def segment_instances(np_map: np.ndarray, hv_map: np.ndarray,
                      constants: HoverConstants) -> np.ndarray:
    """Marker-controlled watershed of HoVer-Net (Graham et al. 2019, section 3.2).

    Args:
        np_map (np.ndarray): (2, H, W) float, probability of background and nucleus.
        hv_map (np.ndarray): (2, H, W) float, raw network output, x (horizontal) first.
        constants (HoverConstants): Sizes in pixels, and what marks a nucleus.

    Returns:
        np.ndarray: (H, W) int32, 0 background, ids 1..N without gaps.
    """
    blobs, areas = _label(np_map[1] > np_map[0], constants.min_blob_area)
    foreground = blobs > 0
    edge_strength = dict(hovernet=_stretched_fall, rising=_fall)[constants.markers]
    edges = np.maximum(
        edge_strength(hv_map[0], 1, 0, constants.sobel_ksize),
        edge_strength(hv_map[1], 0, 1, constants.sobel_ksize))
    markers = _find_markers(foreground, edges, constants)
    markers *= foreground
    # Smoothing joins neighbouring minima; the deepest points are far from any edge, and
    # background lies as high as the strongest one, wherever the map is cut.
    released = constants.markers == 'hovernet'
    highest = 1 if released else _steepest_fall(constants.sobel_ksize)
    depth = cv2.GaussianBlur((edges - highest) * foreground, (3, 3), 0)
    lone = areas >= constants.min_unmarked_area
    inst_map = _flood(depth, blobs, markers, lone)
    if not released:
        inst_map = merge_fragments(inst_map, hv_map, constants.border_reach)
    return _drop_uncertain(inst_map, np_map[1], constants.min_confidence)


def renumber(inst_map: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Erase the ids 1..M whose entry in `keep` (M,) is False and close the gaps."""
    if keep.all():
        return inst_map
    new_ids = np.concatenate([[0], np.cumsum(keep) * keep]).astype(np.int32)
    return np.take(new_ids, inst_map)


def _drop_uncertain(inst_map: np.ndarray, probability: np.ndarray,
                    min_mean: float) -> np.ndarray:
    """Erase instances over which `probability` (H, W) is lower on average."""
    if not min_mean:
        return inst_map
    pixels = np.flatnonzero(inst_map > 0)
    ids = inst_map.ravel()[pixels]
    areas = np.bincount(ids)[1:]
    sums = np.bincount(ids, weights=probability.ravel()[pixels])[1:]
    return renumber(inst_map, sums >= min_mean * areas)


def _label(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, np.ndarray]:
    """4-connected components of at least `min_area` px.

    Returns:
        tuple[np.ndarray, np.ndarray]: (H, W) int32 ids 1..N without gaps, and (1 + N,)
        areas in px, background first.
    """
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    areas = np.bincount(labels.ravel())
    keep = areas >= min_area
    keep[0] = True
    return renumber(labels, keep[1:]), areas[keep]


def _fall(hv: np.ndarray, dx: int, dy: int, ksize: int) -> np.ndarray:
    """How steeply an HV map falls along its own axis: float32, negative in a rise."""
    hv = hv.astype(np.float32, copy=False)
    return -cv2.Sobel(hv, cv2.CV_32F, dx, dy, ksize=ksize)


def _steepest_fall(ksize: int) -> float:
    """What `_fall` gives on a straight border between two nuclei, from 1 to -1."""
    derivative, smoothing = cv2.getDerivKernels(1, 0, ksize)
    return float(2 * derivative[derivative > 0].sum() * smoothing.sum())


def _stretched_fall(hv: np.ndarray, dx: int, dy: int, ksize: int) -> np.ndarray:
    """The same between the extremes of the map: float32 in [0, 1]."""
    hv = _stretch(hv.astype(np.float32, copy=False))
    return 1 - _stretch(cv2.Sobel(hv, cv2.CV_32F, dx, dy, ksize=ksize))


def _stretch(values: np.ndarray) -> np.ndarray:
    """Scale to [0, 1] float32; a constant map becomes 0."""
    return cv2.normalize(values, None, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)


def _find_markers(foreground: np.ndarray, edges: np.ndarray,
                  constants: HoverConstants) -> np.ndarray:
    """Label the cores of the nuclei: int32, one id per marker."""
    cores = _fill_holes(foreground & (edges < EDGE_THRESHOLD[constants.markers]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (constants.opening_side, ) * 2)
    cores = cv2.morphologyEx(cores.astype(np.uint8), cv2.MORPH_OPEN, disc)
    return _label(cores, constants.min_marker_area)[0]


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill background components that do not reach the border of the map."""
    num, labels = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    outside = np.zeros(num, dtype=bool)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[border] = True
    outside[0] = False  # label 0 is the mask itself
    return ~outside[labels]


def _flood(depth: np.ndarray, blobs: np.ndarray, markers: np.ndarray,
           lone: np.ndarray) -> np.ndarray:
    """Extend the markers over their blobs, lowest `depth` first.

    A blob with one marker belongs to it as a whole. Only blobs that several markers
    share go through the watershed, which visits their pixels one by one; of their
    markers only the rim takes part, because nothing floods from the inside.

    A blob without a marker is a nucleus if `lone`, by blob, says so: the opening that
    cleans the markers leaves nothing of a nucleus thinner than its disc.
    """
    seeds = np.flatnonzero(markers > 0)
    seed_blobs, seed_markers = blobs.ravel()[seeds], markers.ravel()[seeds]
    owner = np.zeros(len(lone), dtype=np.int32)
    owner[seed_blobs] = seed_markers
    shared = np.zeros(len(lone), dtype=bool)
    shared[seed_blobs[owner[seed_blobs] != seed_markers]] = True
    # A marker in a filled hole has no foreground pixel, hence no instance.
    keep = np.bincount(seed_markers)[1:] > 0
    adopted = 1 + np.flatnonzero(lone[1:] & (owner[1:] == 0))
    owner[adopted] = 1 + np.arange(len(keep), len(keep) + len(adopted))
    inst_map = owner[blobs]
    contested = shared[blobs]
    if contested.any():
        np.copyto(inst_map, markers, where=contested)
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        contested &= cv2.erode((markers > 0).view(np.uint8), cross) == 0
        flooded = watershed(depth, markers * contested, mask=contested)
        np.copyto(inst_map, flooded, where=contested)
    return renumber(inst_map, np.concatenate([keep, np.ones_like(adopted, bool)]))


def merge_fragments(inst_map: np.ndarray, hv_map: np.ndarray, reach: int) -> np.ndarray:
    """Join neighbours over which the HV maps rise as over one nucleus.

    A dent in an HV map is enough for the watershed to split a nucleus, but then the
    maps go on rising from part to part: they do not fall at the border, and their means
    differ. All pixels of a border are asked: the horizontal map where the parts lie
    side by side, the vertical one where they lie above each other.

    Args:
        inst_map (np.ndarray): (H, W) int32, 0 background, ids 1..N without gaps.
        hv_map (np.ndarray): (2, H, W) float, raw network output, x (horizontal) first.
        reach (int): How far from the border the maps are read on either side, in px.

    Returns:
        np.ndarray: (H, W) int32, ids without gaps, 0 background.
    """
    width = inst_map.shape[1]
    pixels = np.flatnonzero(inst_map > 0)
    ids = inst_map.ravel()[pixels]
    sides = [_find_sides(inst_map, pixels, ids, step) for step in (1, width)]
    if not any(len(before) for before, _ in sides):
        return inst_map
    size = int(ids.max()) + 1
    areas = np.maximum(np.bincount(ids), 1)  # background has no pixels here
    keys, falls, rises = [], [], []
    for side, step, values in zip(sides, (1, width), hv_map, strict=True):
        means = np.bincount(ids, values.ravel()[pixels]) / areas
        before, after = (inst_map.ravel()[each] for each in side)
        keys.append(np.minimum(before, after).astype(np.int64) * size
                    + np.maximum(before, after))
        falls.append(_fall_across(inst_map, values, side, step, reach))
        rises.append(means[after] - means[before])
    borders, index = np.unique(np.concatenate(keys), return_inverse=True)
    lengths = np.bincount(index)
    merge = np.bincount(index, np.concatenate(falls)) < MIN_FALL * lengths
    merge &= np.bincount(index, np.concatenate(rises)) >= MIN_RISE * lengths
    parts = borders[merge] // size, borders[merge] % size
    graph = coo_array((np.ones(merge.sum(), bool), parts), shape=(size, size))
    # Groups are numbered in the order of their first id, so background stays 0.
    groups = connected_components(graph, directed=False)[1].astype(np.int32)
    return np.take(groups, inst_map)


def _find_sides(inst_map: np.ndarray, pixels: np.ndarray, ids: np.ndarray,
                step: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of all pairs of pixels, `step` apart, of two instances."""
    beyond = inst_map.ravel().take(pixels + step, mode='clip')
    before = pixels[(beyond != ids) & (beyond > 0)]
    # The last pixel of a row is not beside the first of the next one.
    inside = (before + step < inst_map.size) & (
        (step > 1) | ((before + 1) % inst_map.shape[1] > 0))
    before = before[inside]
    return before, before + step


def _fall_across(inst_map: np.ndarray, values: np.ndarray,
                 side: tuple[np.ndarray, np.ndarray], step: int,
                 reach: int) -> np.ndarray:
    """By how much `values` falls over pairs of pixels, read `reach` px away."""
    read = []
    for near, direction in zip(side, (-step, step), strict=True):
        far = np.clip(near + direction * reach, 0, inst_map.size - 1)
        # A part narrower than the reach, or at the rim of the map, is read at the
        # border itself.
        same = inst_map.ravel()[far] == inst_map.ravel()[near]
        read.append(values.ravel()[np.where(same, far, near)])
    return read[0] - read[1]
