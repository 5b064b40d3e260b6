# Copyright (c) CellVTA-MMSeg contributors.
"""Tissue of a synthetic H&E patch: the ground under the nuclei and their places.

Plain numpy and scipy. Lengths are px at 0.5 µm/px; positions are (x, y); stain amounts
are optical densities.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.special import expit

from .drawn_nuclei import noise_tile

SIDE = 256  # px, the side of a CoNIC patch

NEUTROPHIL, EPITHELIAL, LYMPHOCYTE, PLASMA, EOSINOPHIL, CONNECTIVE = range(1, 7)


@dataclass(frozen=True)
class TissueKind:
    """Composition of a patch.

    Attributes:
        share: Share of the patches.
        glands: Least and greatest number of glands.
        malignant: Glands are large, stratified and disordered.
        cells: Mean number of lymphocytes, plasma cells and connective nuclei in a
            patch that is all stroma.
        cluster: Share of the lymphocytes that stands in clusters.
    """
    share: float
    glands: tuple[int, int]
    malignant: bool
    cells: tuple[float, float, float]
    cluster: float


KINDS = {
    'crypts': TissueKind(0.40, (5, 9), False, (42, 17, 50), 0.3),
    'tumour': TissueKind(0.30, (4, 7), True, (60, 10, 80), 0.5),
    'stroma': TissueKind(0.12, (0, 1), False, (12, 4, 60), 0.2),
    'infiltrate': TissueKind(0.14, (0, 2), False, (90, 10, 28), 0.7),
    'empty': TissueKind(0.04, (0, 0), False, (0.5, 0, 1.5), 0.0),
}


@dataclass(frozen=True)
class Placement:
    """A nucleus to draw: class, position in px and direction in radians."""
    class_id: int
    x: float
    y: float
    angle: float
    scale: float = 1.0


@dataclass
class Tissue:
    """Stain under the nuclei and the nuclei to place.

    Attributes:
        stain: Hematoxylin and eosin, float32 (2, SIDE, SIDE).
        placements: Nuclei in the order of drawing.
    """
    stain: np.ndarray
    placements: list[Placement]


def smooth_noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Returns smooth noise of mean 0 and spread 1, (SIDE, SIDE)."""
    tile = np.roll(noise_tile(sigma), tuple(rng.integers(0, 512, 2)), (0, 1))
    return tile[:SIDE, :SIDE]


def draw_stroma(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws wavy collagen fibres.

    Returns:
        Stain, (2, SIDE, SIDE), and the direction of the fibres, radians, (SIDE, SIDE).
    """
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    sine, cosine = math.sin(angle), math.cos(angle)
    across = -sine * x + cosine * y + 14 * smooth_noise(rng, 40)
    along = cosine * x + sine * y
    slope_y, slope_x = np.gradient(across)
    direction = np.arctan2(slope_x, -slope_y) + np.pi
    offset = rng.uniform(0, 512, 2).tolist()
    fibres = map_coordinates(
        noise_tile(1.3), [across + offset[0], 0.07 * along + offset[1]], order=1,
        mode='grid-wrap')
    coarse = smooth_noise(rng, 10)
    eosin = 0.36 + 0.08 * fibres + 0.03 * smooth_noise(rng, 1) + 0.06 * coarse
    # Clefts between the bundles, where the glass shows.
    cleft = expit(5 * (coarse + 0.4 * fibres + 1.5))
    eosin = np.maximum(eosin, 0.05) * (0.2 + 0.8 * cleft)
    hematoxylin = (0.09 + 0.03 * smooth_noise(rng, 3)) * cleft
    return np.stack([np.maximum(hematoxylin, 0), eosin]), direction


def draw_gland(rng: np.random.Generator, stain: np.ndarray, occupied: np.ndarray,
               malignant: bool) -> list[Placement]:
    """Draws one gland into the stain and places its nuclei.

    Args:
        rng: Source of randomness.
        stain: (2, SIDE, SIDE), changed in place.
        occupied: Pixels of earlier glands, bool (SIDE, SIDE), changed in place.
        malignant: Large, stratified and disordered.

    Returns:
        Epithelial nuclei; none if there was no room for a gland.
    """
    wobble = 0.14 if malignant else 0.06
    # Python floats: numpy's would turn the float32 maps into float64.
    phases = rng.uniform(0, 2 * np.pi, 3).tolist()
    heights = (wobble * rng.standard_normal(3)).tolist()

    def outline(theta: np.ndarray) -> np.ndarray:
        return 1 + sum(h * np.cos(k * theta + p)
                       for k, p, h in zip((2, 3, 4), phases, heights, strict=True))

    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for _ in range(30):
        radius = rng.uniform(50, 95) if malignant else rng.uniform(40, 60)
        centre = rng.uniform(-20, SIDE + 20, 2).tolist()
        # Every fourth pixel tells whether there is room.
        inside = polar_distance(x[::4, ::4], y[::4, ::4], centre, outline) < radius
        if inside.any() and not (inside & occupied[::4, ::4]).any():
            break
    else:
        return []
    distance = polar_distance(x, y, centre, outline)
    occupied |= distance < radius + 5
    wall = rng.uniform(44, 62) if malignant else rng.uniform(30, 38)
    wall = min(wall, radius - 6)
    paint_gland(rng, stain, distance, radius, wall, malignant)
    return place_epithelium(rng, centre, outline, radius, wall, malignant)


def polar_distance(x: np.ndarray, y: np.ndarray, centre: list[float],
                   outline: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns the distance from `centre`, (x, y) px, with the outline made round."""
    dx, dy = x - centre[0], y - centre[1]
    return np.hypot(dx, dy) / outline(np.arctan2(dy, dx))


def paint_gland(rng: np.random.Generator, stain: np.ndarray, distance: np.ndarray,
                radius: float, wall: float, malignant: bool) -> None:
    """Paints cytoplasm, mucin and lumen of a gland into `stain`."""

    def step(edge: float, width: float) -> np.ndarray:
        """Returns 1 inside the contour at `edge`, 0 outside."""
        return expit((edge - distance) / width)

    gland, lumen = step(radius, 0.8), step(radius - wall, 1.2)
    grain = 1 + 0.12 * smooth_noise(rng, 1.2)
    hematoxylin, eosin = (0.28, 0.40) if malignant else (0.16, 0.36)
    body = np.stack([hematoxylin * grain, eosin * grain])
    if not malignant:
        # Goblets of mucin between nuclei and lumen.
        apical = step(radius - 0.5 * wall, 2.0)
        goblets = apical * expit(8 * (smooth_noise(rng, 4) - 0.2))
        mucin = np.stack([0.10 * grain, 0.05 * grain])
        body = body + goblets * (mucin - body)
    secretion = np.maximum(0.06 * (1 + 0.5 * smooth_noise(rng, 8)), 0)
    body = body + lumen * (np.stack([0.02 * grain, secretion]) - body)
    stain += gland * (body - stain)


def place_epithelium(rng: np.random.Generator, centre: list[float],
                     outline: Callable[[np.ndarray], np.ndarray], radius: float,
                     wall: float, malignant: bool) -> list[Placement]:
    """Lines the wall of a gland with nuclei, long axes towards the lumen."""
    placements = []
    rows = (9, 24, 39, 52) if malignant else (10,)
    for row in rows:
        if row > wall - 6:
            break
        level = radius - row - 1.5
        spacing = rng.uniform(12.5, 14) if malignant else rng.uniform(10.5, 12)
        count = int(2 * np.pi * level / spacing)
        jitter = 2.5 if malignant else 1.2
        for theta in (np.arange(count) + rng.uniform()) * 2 * np.pi / count:
            if rng.uniform() < 0.06:
                continue
            theta = theta + rng.normal(0, 0.15 * spacing / level)
            reach = level * outline(theta) + rng.normal(0, jitter)
            turn = rng.normal(0, 0.5 if malignant else 0.15)
            placements.append(
                Placement(EPITHELIAL, centre[0] + reach * np.cos(theta),
                          centre[1] + reach * np.sin(theta), theta + turn,
                          rng.uniform(0.9, 1.15) if malignant else 0.92))
    return placements


def place_stroma(rng: np.random.Generator, kind: TissueKind, occupied: np.ndarray,
                 direction: np.ndarray) -> list[Placement]:
    """Scatters and clusters the nuclei outside the glands."""
    placements = []
    focus = rng.uniform(20, SIDE - 20, 2)

    def scatter(class_id: int, mean: float, clustered: float = 0.0,
                spread: float = 32.0) -> None:
        for _ in range(rng.poisson(mean)):
            x, y = rng.uniform(-4, SIDE + 4, 2)
            if rng.uniform() < clustered:
                x, y = focus + spread * rng.standard_normal(2)
            col, row = (int(np.clip(round(p), 0, SIDE - 1)) for p in (x, y))
            if occupied[row, col]:
                continue
            angle = rng.uniform(0, 2 * np.pi)
            if class_id == CONNECTIVE:
                angle = direction[row, col] + rng.normal(0, 0.2)
            placements.append(Placement(class_id, x, y, angle))

    lymphocytes, plasma, connective = kind.cells
    # Rare granulocytes come in groups, as they do in inflamed mucosa.
    if connective > 10 and rng.uniform() < 0.16:
        scatter(NEUTROPHIL, 10, clustered=0.8, spread=22)
    if connective > 10 and rng.uniform() < 0.18:
        scatter(EOSINOPHIL, 9, clustered=0.5, spread=40)
    scatter(PLASMA, plasma, clustered=0.3, spread=45)
    scatter(LYMPHOCYTE, lymphocytes, clustered=kind.cluster)
    scatter(CONNECTIVE, connective)
    return placements


def grow_tissue(rng: np.random.Generator, kind: TissueKind) -> Tissue:
    """Draws the ground of a patch and decides where its nuclei go.

    Args:
        rng: Source of randomness.
        kind: Composition.
    """
    stain, direction = draw_stroma(rng)
    if kind is KINDS['empty']:
        # Mucus or fat: little stain.
        stain = stain * np.clip(0.25 + 0.2 * smooth_noise(rng, 25), 0.05, 0.6)
    occupied = np.zeros((SIDE, SIDE), bool)
    placements = []
    for _ in range(rng.integers(kind.glands[0], kind.glands[1] + 1)):
        placements += draw_gland(rng, stain, occupied, kind.malignant)
    placements += place_stroma(rng, kind, occupied, direction)
    return Tissue(gaussian_filter(stain, (0, 0.6, 0.6)), placements)
