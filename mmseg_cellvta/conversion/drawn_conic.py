# Copyright (c) CellVTA-MMSeg contributors.
"""Synthetic H&E patches with exact nucleus labels, in CoNIC's format.

Light passes through two stains: an image is ``white * exp(-(h * H + e * E))`` with the
optical densities h and e of hematoxylin and eosin and the unit absorption vectors H and
E of Ruifrok and Johnston (Anal Quant Cytol Histol 23, 2001). Plain numpy and scipy.
"""
import csv
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from ..datasets.labels import (
    PATCH_IMAGES,
    PATCH_INFO,
    PATCH_LABELS,
    count_nuclei,
    write_rows,
)
from ..utils.files import PendingFolder
from .drawn_nuclei import draw_nucleus
from .drawn_tissue import KINDS, SIDE, Tissue, grow_tissue

CLASSES = ('neutrophil', 'epithelial', 'lymphocyte', 'plasma', 'eosinophil',
           'connective')
HEMATOXYLIN = np.array([0.650, 0.704, 0.286])  # absorption of red, green, blue
EOSIN = np.array([0.072, 0.990, 0.105])
PATCHES_PER_SOURCE = 10
TEST_SHARE = 0.2  # fraction of the source images
MIN_VISIBLE_AREA = 12  # px; nuclei of which less is visible are not drawn
COUNT_MARGIN = 16  # px; CoNIC counts nuclei in the central 224 x 224 px


@dataclass(frozen=True)
class Staining:
    """Look that the patches of one source image share.

    Attributes:
        vectors: Unit absorption of hematoxylin and eosin, RGB, (2, 3).
        strength: Factors on the optical densities, (2,).
        white: Colour of the empty slide, RGB 0-255, (3,).
        blur: Sigma of the optics, px.
        noise: Spread of the camera noise on the 0-255 scale.
    """
    vectors: np.ndarray
    strength: np.ndarray
    white: np.ndarray
    blur: float
    noise: float


def draw_staining(rng: np.random.Generator) -> Staining:
    """Draws the look of a source image."""
    vectors = np.stack([HEMATOXYLIN, EOSIN]) + np.abs(rng.normal(0, 0.04, (2, 3)))
    # Eosin on real slides absorbs more blue than the pure dye: pink, not magenta.
    vectors[1] += rng.uniform(0.3, 1.0) * np.array([0.08, 0.0, 0.3])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Staining(vectors, rng.uniform(0.88, 1.15, 2),
                    np.array([243, 241, 244]) + rng.uniform(-4, 4, 3),
                    rng.uniform(0.45, 0.75), rng.uniform(1.5, 3.5))


def draw_patch(rng: np.random.Generator,
               staining: Staining) -> tuple[np.ndarray, np.ndarray]:
    """Draws a patch with its labels.

    Args:
        rng: Source of randomness.
        staining: Look of the source image.

    Returns:
        Image, uint8 (256, 256, 3) RGB, and labels, uint16 (256, 256, 2): instance ids
        1..N without gaps, class ids 0..6.
    """
    shares = [kind.share for kind in KINDS.values()]
    kind = list(KINDS.values())[rng.choice(len(KINDS), p=shares)]
    stain, labels = draw_cells(rng, grow_tissue(rng, kind))
    absorption = (staining.strength[:, None] * staining.vectors).astype(np.float32)
    density = np.tensordot(stain.astype(np.float32), absorption, axes=(0, 0))
    img = staining.white.astype(np.float32) * np.exp(-density)
    img = gaussian_filter(img, (staining.blur, staining.blur, 0))
    img += staining.noise * rng.standard_normal(img.shape, np.float32)
    return np.clip(np.rint(img), 0, 255).astype(np.uint8), labels


def draw_cells(rng: np.random.Generator,
               tissue: Tissue) -> tuple[np.ndarray, np.ndarray]:
    """Draws the nuclei of a tissue; they touch, but never overlap.

    Returns:
        Stain with nuclei, (2, 256, 256), and labels, uint16 (256, 256, 2).
    """
    ground = tissue.stain
    labels = np.zeros((SIDE, SIDE, 2), np.uint16)
    coverage = np.zeros((SIDE, SIDE), np.float32)
    chromatin = np.zeros((SIDE, SIDE), np.float32)
    count = 0
    for place in tissue.placements:
        nucleus = draw_nucleus(rng, place.class_id, place.angle, place.scale)
        canvas, part = clip_window(place.x, place.y, nucleus.reach)
        mask = nucleus.mask[part]
        free = mask & (labels[canvas][..., 0] == 0)
        if free.sum() < max(MIN_VISIBLE_AREA, 0.85 * mask.sum()):
            continue
        count += 1
        labels[canvas][free] = count, place.class_id
        # Soft outline, except where the neighbour's nucleus is.
        own = free | (labels[canvas][..., 0] == 0)
        alpha = np.where(own, nucleus.coverage[part], 0)
        chromatin[canvas] = np.where(alpha > coverage[canvas],
                                     nucleus.hematoxylin[part], chromatin[canvas])
        coverage[canvas] = np.maximum(coverage[canvas], alpha)
        if nucleus.body is not None:
            under = ground[(slice(None), *canvas)]
            under += nucleus.body[part] * (nucleus.body_stain[(slice(None), *part)]
                                           - under)
    # Nuclei hold some eosin; the ground below shows through little.
    nuclei = np.stack([chromatin, 0.15 + 0.3 * ground[1]])
    return ground + coverage * (nuclei - ground), labels


def clip_window(x: float, y: float, reach: int) -> tuple[tuple, tuple]:
    """Returns where a patch and a window centred at (x, y) px overlap.

    Args:
        x: Column of the centre, px.
        y: Row of the centre, px.
        reach: Half the side of the window, px.

    Returns:
        (row, col) slices of the patch, and of the window.
    """
    canvas, part = [], []
    for centre in (round(y), round(x)):
        start, stop = centre - reach, centre + reach + 1
        low, high = min(max(start, 0), SIDE), min(max(stop, 0), SIDE)
        canvas.append(slice(low, high))
        part.append(slice(low - start, high - start))
    return tuple(canvas), tuple(part)


def draw_numbered_patch(index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws patch `index` of the data set with this seed, see `draw_patch`."""
    source = index // PATCHES_PER_SOURCE
    staining = draw_staining(np.random.default_rng([seed, 0, source]))
    return draw_patch(np.random.default_rng([seed, 1, index]), staining)


def write_synthetic_conic(out_dir: str, num_images: int, seed: int = 0,
                          progress: Callable[[], None] = lambda: None) -> np.ndarray:
    """Writes a synthetic data set in CoNIC's format, complete or not at all.

    Writes `images.npy`, `labels.npy`, `patch_info.csv`, `counts.csv` (nuclei in the
    central 224 x 224 px, as CoNIC counts them) and `test_sources.json`.

    Args:
        out_dir: Folder to make; it must not exist.
        num_images: Number of patches.
        seed: The same seed gives the same data set.
        progress: Called after each patch.

    Returns:
        Nuclei per patch and class, int64 (N, 6), in the order of `CLASSES`.

    Raises:
        FileExistsError: When `out_dir` exists, or was begun with other arguments.
        ValueError: When there are too few images for a training and a test split.
    """
    if num_images < 2 * PATCHES_PER_SOURCE:
        raise ValueError(f'num_images={num_images}: expected at least '
                         f'{2 * PATCHES_PER_SOURCE}, two source images')
    folder = PendingFolder(out_dir, dict(
        converter='synthetic_conic', num_images=num_images, seed=seed))
    open_array = partial(np.lib.format.open_memmap, mode='w+')
    images = open_array(folder.part / PATCH_IMAGES, dtype=np.uint8,
                        shape=(num_images, SIDE, SIDE, 3))
    labels = open_array(folder.part / PATCH_LABELS, dtype=np.uint16,
                        shape=(num_images, SIDE, SIDE, 2))
    counts, central = [], []
    inside = slice(COUNT_MARGIN, SIDE - COUNT_MARGIN)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        draw = partial(draw_numbered_patch, seed=seed)
        patches = pool.map(draw, range(num_images), chunksize=4)
        for index, (image, label) in enumerate(patches):
            images[index], labels[index] = image, label
            for part, found in ((label, counts), (label[inside, inside], central)):
                found.append(
                    count_nuclei(part[..., 0], part[..., 1], len(CLASSES) + 1))
            progress()
    images.flush()
    labels.flush()
    write_tables(folder.part, central, seed)
    folder.publish()
    return np.array(counts)


def write_tables(folder: Path, central: list[np.ndarray], seed: int) -> None:
    """Writes names, counts and the test split beside the arrays."""
    sources = [f'synthetic_{i // PATCHES_PER_SOURCE + 1}' for i in range(len(central))]
    write_rows(folder / PATCH_INFO, [
        dict(patch_info=f'{source}-{i:04d}') for i, source in enumerate(sources)])
    with open(folder / 'counts.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([CLASSES, *(row.tolist() for row in central)])
    unique = list(dict.fromkeys(sources))
    chosen = np.random.default_rng([seed, 2]).permutation(unique)
    chosen = chosen[:max(1, round(TEST_SHARE * len(unique)))].tolist()
    patches = {source: sources.count(source) for source in sorted(chosen)}
    content = dict(n_patches=sum(patches.values()), sources=patches)
    with open(folder / 'test_sources.json', 'w', encoding='utf-8') as file:
        json.dump(content, file, indent=1)
