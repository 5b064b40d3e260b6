# Copyright (c) CellVTA-MMSeg contributors.
"""From the NP and HV maps to an instance map (plain numpy, OpenCV, scikit-image).

Some helpers do what SciPy and scikit-image do too; their docstrings say how much longer
those take for 1022 nuclei in 1024 x 1024 px on one core.
"""
import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.segmentation import watershed

from .instance_pixels import InstancePixels

MARKER_MODES = ('hovernet', 'rising')
# Edge strength from which a pixel separates two nuclei instead of marking one.
EDGE_THRESHOLD = dict(hovernet=0.4, rising=0.0)
# Reach of the Sobel kernel to each side. Rising markers need no wide one, because they
# are not compared with the steepest place of the whole map.
SOBEL_REACH_UM = dict(hovernet=2.5, rising=1.0)
MAX_SOBEL_REACH = 15  # px, OpenCV's limit
MIN_MARKER_UM2 = 0.625
# Nuclei have at least this many px, except where these are more than MAX_MIN_BLOB_UM2
# or fewer than a marker.
MIN_BLOB_AREA = 10
MAX_MIN_BLOB_UM2 = 2.5
# Side of the disc that cleans the markers: HoVer-Net's in px at any resolution, the
# radius of ours for rising markers.
HOVERNET_OPENING_SIDE = 5
RISING_OPENING_UM = 0.3
# Foreground without a rising marker that is still a nucleus: a seventh of a lymphocyte.
MIN_UNMARKED_UM2 = 5.0
# Distance from a border at which `merge_fragments` reads the HV maps.
BORDER_REACH_UM = 0.5
# Mean fall of HV across a border from which two nuclei meet there. Between two whole
# nuclei HV falls from 1 to -1; within one it rises, however unsure the network is.
MIN_FALL = 0.05
# Rise of the mean HV from one neighbour to the other from which they are parts of one
# nucleus: over a whole nucleus HV takes values on both sides of 0. Without this rule a
# crescent around another nucleus, to which HV may rise at the border, would be joined.
MIN_RISE = 0.2


class HoverConstants(NamedTuple):
    """Settings of the marker-controlled watershed; sizes in px.

    Attributes:
        sobel_ksize: Side of the Sobel kernel, odd.
        min_marker_area: Markers with fewer pixels are dropped.
        min_blob_area: Foreground components with fewer pixels are dropped.
        opening_side: Side of the disc that cleans the markers, odd.
        min_unmarked_area: Foreground components without a marker and with fewer pixels
            are dropped.
        border_reach: Distance from the border between two nuclei at which HV is read.
        markers: What marks a nucleus, see `hover_constants`.
        min_confidence: Nuclei with a lower mean NP probability are dropped, 0-1.
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
    """Returns sizes that cover the same tissue at any resolution.

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
        mpp: Resolution of the maps, µm/px.
        markers: 'hovernet' or 'rising'.
        min_confidence: Nuclei whose pixels have a lower mean probability of being
            nucleus are dropped, 0-1.

    Raises:
        ValueError: When `mpp` is not a positive finite number, `markers` is unknown, or
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
    reach = min(max(round(SOBEL_REACH_UM[markers] / mpp), 1), MAX_SOBEL_REACH)
    min_marker_area, max_min_blob_area = (
        math.ceil(area / mpp**2) for area in (MIN_MARKER_UM2, MAX_MIN_BLOB_UM2))
    return HoverConstants(
        sobel_ksize=2 * reach + 1,
        min_marker_area=min_marker_area,
        min_blob_area=min(max(MIN_BLOB_AREA, min_marker_area), max_min_blob_area),
        opening_side=(HOVERNET_OPENING_SIDE if released else
                      2 * round(RISING_OPENING_UM / mpp) + 1),
        min_unmarked_area=math.inf if released else MIN_UNMARKED_UM2 / mpp**2,
        border_reach=round(BORDER_REACH_UM / mpp),
        markers=markers,
        min_confidence=min_confidence)


def segment_instances(np_map: np.ndarray, hv_map: np.ndarray,
                      constants: HoverConstants) -> np.ndarray:
    """Runs HoVer-Net's marker-controlled watershed (Graham et al. 2019, section 3.2).

    Args:
        np_map: (2, H, W) float, probability of background and nucleus, 0-1.
        hv_map: (2, H, W) float, raw network output, x (horizontal) first.
        constants: Sizes in px, and what marks a nucleus.

    Returns:
        (H, W) int32, 0 background, ids 1..N without gaps.
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
    inst_map = _flood(depth, blobs, markers, areas >= constants.min_unmarked_area)
    if not released:
        inst_map = merge_fragments(inst_map, hv_map, constants.border_reach)
    return _drop_uncertain(inst_map, np_map[1], constants.min_confidence)


@lru_cache(maxsize=1)
def _half_values() -> np.ndarray:
    """Returns the values (65536,) float32 of all float16 numbers, by their bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def to_float32(values: np.ndarray) -> np.ndarray:
    """Does what `astype` does; float16 by a table, in a quarter of the time."""
    if values.dtype != np.float16:
        return values.astype(np.float32, copy=False)
    return np.take(_half_values(), values.view(np.uint16))


def renumber(inst_map: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Erases the ids 1..M whose entry in `keep` (M,) is False and closes the gaps.

    scikit-image's `relabel_sequential` takes 20 times as long.
    """
    if keep.all():
        return inst_map
    new_ids = np.concatenate([[0], np.cumsum(keep) * keep]).astype(np.int32)
    return np.take(new_ids, inst_map)


def _label(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels 4-connected components of at least `min_area` px.

    scikit-image's `label` and `remove_small_objects` take 4 times as long.

    Returns:
        (H, W) int32 ids 1..N without gaps, and (1 + N,) areas in px, background first.
    """
    num, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    areas = np.bincount(labels[mask], minlength=num)
    areas[0] = mask.size - areas.sum()
    keep = areas >= min_area
    keep[0] = True
    return renumber(labels, keep[1:]), areas[keep]


def _stretched_fall(hv: np.ndarray, dx: int, dy: int, ksize: int) -> np.ndarray:
    """`_fall` between the extremes of the map: float32 in [0, 1]."""
    hv = _stretch(to_float32(hv))
    return 1 - _stretch(cv2.Sobel(hv, cv2.CV_32F, dx, dy, ksize=ksize))


def _stretch(values: np.ndarray) -> np.ndarray:
    """Scales to [0, 1] float32; a constant map becomes 0."""
    return cv2.normalize(values, None, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)


def _fall(hv: np.ndarray, dx: int, dy: int, ksize: int) -> np.ndarray:
    """Returns the slope of an HV map along its axis: float32, positive in a fall."""
    return cv2.Sobel(to_float32(hv), cv2.CV_32F, dx, dy, ksize=ksize, scale=-1)


def _steepest_fall(ksize: int) -> float:
    """Returns `_fall` on a straight border between two nuclei, from 1 to -1."""
    derivative, smoothing = cv2.getDerivKernels(1, 0, ksize)
    return float(2 * derivative[derivative > 0].sum() * smoothing.sum())


def _find_markers(foreground: np.ndarray, edges: np.ndarray,
                  constants: HoverConstants) -> np.ndarray:
    """Labels the cores of the nuclei: int32, one id per marker."""
    cores = _fill_holes(foreground & (edges < EDGE_THRESHOLD[constants.markers]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (constants.opening_side, ) * 2)
    cores = cv2.morphologyEx(cores.view(np.uint8), cv2.MORPH_OPEN, disc)
    return _label(cores > 0, constants.min_marker_area)[0]


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fills background components that do not reach the border of the map.

    SciPy's `binary_fill_holes` takes 5 times as long.
    """
    num, labels = cv2.connectedComponents((~mask).view(np.uint8), connectivity=4)
    outside = np.zeros(num, dtype=bool)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[border] = True
    outside[0] = False  # label 0 is the mask itself
    return np.take(~outside, labels)


def _flood(depth: np.ndarray, blobs: np.ndarray, markers: np.ndarray,
           lone: np.ndarray) -> np.ndarray:
    """Extends the markers over their blobs, lowest `depth` first.

    A blob with one marker belongs to it as a whole. Only blobs that several markers
    share go through the watershed, which visits their pixels one by one; of their
    markers only the rim takes part, because nothing floods from the inside.

    A blob without a marker is a nucleus where `lone`, one bool per blob, is True: the
    opening that cleans the markers leaves nothing of a nucleus thinner than its disc.
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
    inst_map = np.take(owner, blobs)
    contested = np.take(shared, blobs)
    if contested.any():
        np.copyto(inst_map, markers, where=contested)
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        contested &= cv2.erode((markers > 0).view(np.uint8), cross) == 0
        flooded = watershed(depth, markers * contested, mask=contested)
        np.copyto(inst_map, flooded, where=contested)
    return renumber(inst_map, np.concatenate([keep, np.ones_like(adopted, bool)]))


def merge_fragments(inst_map: np.ndarray, hv_map: np.ndarray, reach: int) -> np.ndarray:
    """Joins neighbours over which the HV maps rise as over one nucleus.

    A dent in an HV map is enough for the watershed to split a nucleus, but then the
    maps go on rising from part to part: they do not fall at the border, and their means
    differ. All pixels of a border count: of the horizontal map where the parts lie side
    by side, of the vertical one where they lie above each other.

    Args:
        inst_map: (H, W) int32, 0 background, ids 1..N without gaps.
        hv_map: (2, H, W) float, raw network output, x (horizontal) first.
        reach: Distance from the border at which the maps are read on either side, px.

    Returns:
        (H, W) int32, ids without gaps, 0 background.
    """
    steps = 1, inst_map.shape[1]  # to the pixel on the right, below
    borders = [_find_borders(inst_map, step) for step in steps]
    if not any(len(before) for before, _ in borders):
        return inst_map
    size = int(inst_map.max()) + 1
    involved = np.zeros(size, bool)
    for border in borders:
        for side in border:
            involved[np.take(inst_map, side)] = True
    pixels = InstancePixels(inst_map, involved)
    keys, falls, rises = [], [], []
    for border, step, values in zip(borders, steps, hv_map, strict=True):
        means = pixels.mean(pixels.pick(values))
        before, after = (np.take(inst_map, side) for side in border)
        keys.append(np.minimum(before, after).astype(np.int64) * size
                    + np.maximum(before, after))
        falls.append(_fall_across(inst_map, values, border, step, reach))
        rises.append(means[after - 1] - means[before - 1])
    pairs, index = np.unique(np.concatenate(keys), return_inverse=True)
    lengths = np.bincount(index)
    merge = np.bincount(index, np.concatenate(falls)) < MIN_FALL * lengths
    merge &= np.bincount(index, np.concatenate(rises)) >= MIN_RISE * lengths
    parts = np.divmod(pairs[merge], size)
    graph = coo_array((np.ones(merge.sum(), bool), parts), shape=(size, size))
    # Groups are numbered in the order of their first id, so background stays 0.
    groups = connected_components(graph, directed=False)[1].astype(np.int32)
    return np.take(groups, inst_map)


def _find_borders(inst_map: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns flat positions of all pairs of pixels, `step` apart, of two instances."""
    near, far = ((inst_map[:, :-1], inst_map[:, 1:]) if step == 1 else
                 (inst_map[:-1], inst_map[1:]))
    rows, cols = np.nonzero((near != far) & (near > 0) & (far > 0))
    before = rows * inst_map.shape[1] + cols
    return before, before + step


def _fall_across(inst_map: np.ndarray, values: np.ndarray,
                 border: tuple[np.ndarray, np.ndarray], step: int,
                 reach: int) -> np.ndarray:
    """Returns how much `values` falls over pairs of pixels, read `reach` px away."""
    read = []
    for near, direction in zip(border, (-step, step), strict=True):
        far = np.clip(near + direction * reach, 0, inst_map.size - 1)
        # A part narrower than the reach, or at the rim of the map, is read at the
        # border itself.
        same = np.take(inst_map, far) == np.take(inst_map, near)
        read.append(np.take(values, np.where(same, far, near)))
    return read[0] - read[1]


def _drop_uncertain(inst_map: np.ndarray, probability: np.ndarray,
                    min_mean: float) -> np.ndarray:
    """Erases instances over which the mean of `probability` (H, W) is lower."""
    if not min_mean:
        return inst_map
    pixels = InstancePixels(inst_map)
    sums = pixels.sum(pixels.pick(probability))
    return renumber(inst_map, sums >= min_mean * pixels.areas)
