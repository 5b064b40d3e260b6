# Copyright (c) CellVTA-MMSeg contributors.
"""Checks of one image and its labels. Plain numpy, linear in pixels.

Each check returns pairs of its name (a key of `health.CHECKS`) and where the fault is.
"""
import hashlib
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure

from ..evaluation.functional import contingency

MIN_NUCLEUS_AREA = 10  # px
FRAME_SHARE = 0.9  # of the height and of the width of the image
MIN_NUCLEI_ALIGNED = 5  # fewer say nothing about where the labels lie
# Optical density (log10) of the values 0-255; 1 is added, because log 0 is infinite.
DENSITY = -np.log10((np.arange(256) + 1) / 256)


@dataclass(frozen=True)
class Pieces:
    """Connected regions of one id, diagonal neighbours included, sorted by id.

    Attributes:
        ids: Id of each piece, (P,); an id in two pieces occurs twice.
        areas: Areas, (P,), px.
        boxes: Top, left, bottom, right, (P, 4), px; the last two are exclusive.
    """
    ids: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray

    @classmethod
    def of(cls, inst_map: np.ndarray) -> 'Pieces':
        """Finds the pieces of an instance map, integer (H, W), 0 background."""
        numbers = measure.label(inst_map, background=0, connectivity=2)
        count = int(numbers.max(initial=0))
        ids = np.zeros(count + 1, np.int64)
        ids[numbers.ravel()] = inst_map.ravel()
        areas = np.bincount(numbers.ravel(), minlength=count + 1)
        boxes = [(rows.start, cols.start, rows.stop, cols.stop)
                 for rows, cols in ndimage.find_objects(numbers)]
        order = np.argsort(ids[1:], kind='stable')
        return cls(ids[1:][order], areas[1:][order],
                   np.array(boxes, np.int64).reshape(-1, 4)[order])


def check_labels_of_image(
        inst_map: np.ndarray, class_map: np.ndarray, num_classes: int
) -> list[tuple[str, str]]:
    """Finds every fault of a label map; `check_labels` stops at the first.

    Args:
        inst_map: Instance ids, integer (H, W), 0 background.
        class_map: Class ids of the file, integer (H, W), 0 background.
        num_classes: Number of class ids that the file may hold, background included.

    Returns:
        Names of the checks and where the faults are.
    """
    findings = []
    negative = inst_map < 0
    if negative.any():
        findings += [('negative_id', f'instance {inst_id}')
                     for inst_id in np.unique(inst_map[negative])]
        # They are background to all other checks.
        inst_map = np.where(negative, 0, inst_map)
        class_map = np.where(negative, 0, class_map)
    pieces = Pieces.of(inst_map)
    findings += [
        ('frame', f'instance {inst_id}: {width} x {height} px')
        for inst_id, (height, width) in find_frames(pieces, inst_map.shape).items()]
    return (findings + _check_pieces(pieces)
            + _check_classes(inst_map, class_map, num_classes))


def find_frames(pieces: Pieces,
                shape: tuple[int, int]) -> dict[int, tuple[int, int]]:
    """Finds ids that reach over the image: frames, or a labelled background.

    Args:
        pieces: Those of an instance map.
        shape: (height, width) of the map, px.

    Returns:
        (height, width), px, of each such id.
    """
    ids, first = np.unique(pieces.ids, return_index=True)
    if not len(ids):
        return {}
    sizes = (np.maximum.reduceat(pieces.boxes[:, 2:], first)
             - np.minimum.reduceat(pieces.boxes[:, :2], first))
    frames = (sizes >= FRAME_SHARE * np.array(shape)).all(axis=1)
    return dict(zip(ids[frames].tolist(), map(tuple, sizes[frames].tolist()),
                    strict=True))


def _check_pieces(pieces: Pieces) -> list[tuple[str, str]]:
    ids, first, counts = np.unique(pieces.ids, return_index=True, return_counts=True)
    areas = np.add.reduceat(pieces.areas, first) if len(ids) else first
    findings = [
        ('small_instance', f'instance {inst_id}: {area} px')
        for inst_id, area in zip(ids, areas, strict=True) if area < MIN_NUCLEUS_AREA]
    for inst_id, start, count in zip(ids, first, counts, strict=True):
        if count == 1:
            continue
        own = slice(start, start + count)
        gap = _largest_gap(pieces.boxes[own], pieces.areas[own])
        check = 'split_instance' if gap is None else 'duplicate_id'
        far = '' if gap is None else f', {gap:.0f} px apart'
        findings.append((check, f'instance {inst_id}: {count} pieces{far}'))
    return findings


def _largest_gap(boxes: np.ndarray, areas: np.ndarray) -> float | None:
    """Returns the distance from the largest piece to the farthest, px.

    None if it is less than the largest piece is long, corner to corner: no cut through
    a nucleus moves its parts farther than that.
    """
    largest = boxes[areas.argmax()]
    apart = np.maximum(boxes[:, :2] - largest[2:], largest[:2] - boxes[:, 2:])
    gaps = np.hypot(*np.maximum(apart, 0).T)
    farthest = gaps.max()
    return farthest if farthest > np.hypot(*(largest[2:] - largest[:2])) else None


def _check_classes(inst_map: np.ndarray, class_map: np.ndarray,
                   num_classes: int) -> list[tuple[str, str]]:
    lowest = min(int(class_map.min(initial=0)), 0)
    ids, classes, pixels = contingency(inst_map, class_map.astype(np.int64) - lowest)
    classes += lowest
    findings = []
    unknown = (classes < 0) | (classes >= num_classes)
    for class_id in np.unique(classes[unknown]):
        inst_id = ids[classes == class_id].max()
        where = f'instance {inst_id}' if inst_id else 'in no instance'
        findings.append(('unknown_class', f'class {class_id}: {where}'))
    inside = ids > 0
    findings += [
        ('no_class', f'instance {inst_id}: {count} px')
        for inst_id, count in zip(ids[inside & (classes == 0)],
                                  pixels[inside & (classes == 0)], strict=True)]
    outside = ~inside & (classes != 0) & ~unknown
    if outside.any():
        findings.append((
            'no_instance', f'{pixels[outside].sum()} px of '
            f'{"class" if outside.sum() == 1 else "classes"} '
            f'{", ".join(map(str, classes[outside]))}'))
    named = inside & (classes != 0)
    several, first, counts = np.unique(
        ids[named], return_index=True, return_counts=True)
    for inst_id, start, count in zip(several, first, counts, strict=True):
        if count > 1:
            found = classes[named][start:start + count].tolist()
            findings.append(('two_classes', f'instance {inst_id}: classes {found}'))
    return findings


def compare_density(image: np.ndarray, nuclei: np.ndarray) -> tuple[float, float]:
    """Computes the mean optical density of nuclei and of their surroundings.

    Args:
        image: uint8 (H, W, 3), 0-255.
        nuclei: True on nuclei, bool (H, W).

    Returns:
        Density (log10) inside and outside; NaN where there is no pixel.
    """
    means = []
    for mask in (nuclei, ~nuclei):
        values = np.bincount(image[mask].ravel(), minlength=256)
        total = values.sum()
        means.append(float(values @ DENSITY / total) if total else float('nan'))
    return means[0], means[1]


def check_alignment(image: np.ndarray, inst_map: np.ndarray,
                    num_nuclei: int) -> list[tuple[str, str]]:
    """Checks that nuclei are darker than the rest: stain shows where they really are.

    Args:
        image: uint8 (H, W, 3), 0-255.
        inst_map: Instance ids, integer (H, W), 0 background.
        num_nuclei: Number of nuclei; with fewer than 5 nothing is checked.

    Returns:
        At most one finding, as those of `check_labels_of_image`.
    """
    if num_nuclei < MIN_NUCLEI_ALIGNED:
        return []
    inside, outside = compare_density(image, inst_map != 0)
    if not inside <= outside:
        return []
    return [('misaligned', f'{num_nuclei} nuclei, mean optical density {inside:.3f} '
                           f'inside, {outside:.3f} outside')]


def digest(image: np.ndarray) -> bytes:
    """Returns bytes that are equal for images of equal pixels, whatever their file."""
    content = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16)
    content.update(repr(image.shape).encode())
    return content.digest()
