# Copyright (c) CellVTA-MMSeg contributors.
"""Shapes and stain of single nuclei for the synthetic data set, at 0.5 µm/px.

The classes differ in what a pathologist looks at: size, outline, chromatin and the
cytoplasm around the nucleus. Stain amounts are optical densities (natural logarithm)
along the stain's unit vector. Plain numpy and scipy.
"""
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

Range = tuple[float, float]


@dataclass(frozen=True)
class Cytoplasm:
    """Visible cell body around a nucleus.

    Attributes:
        radius: Radius of the body, px.
        shift: Distance of the nucleus from its centre, px.
        hematoxylin: Optical density of hematoxylin.
        eosin: Optical density of eosin.
        granules: Relative strength of the granular texture.
    """
    radius: Range
    shift: float
    hematoxylin: float
    eosin: float
    granules: float = 0.1


@dataclass(frozen=True)
class NucleusClass:
    """Appearance of one class of nuclei.

    Attributes:
        long: Long semi-axis, px; of one lobe where there are several.
        short: Short semi-axis, as a fraction of the long one.
        hematoxylin: Optical density of the chromatin.
        texture: Relative strength of the chromatin's texture.
        grain: Size of the chromatin's clumps, px (Gaussian sigma).
        rim: Optical density that the nuclear membrane adds.
        irregular: Relative deviation of the outline from an ellipse.
        lobes: Number of lobes.
        nucleoli: Greatest number of nucleoli.
        clock_face: Optical density of clumps along the membrane.
        bend: Greatest sagitta of a bent nucleus, as a fraction of the long axis.
        cytoplasm: Cell body, where it can be told apart.
    """
    long: Range
    short: Range
    hematoxylin: Range
    texture: float
    grain: float
    rim: float = 0.0
    irregular: float = 0.03
    lobes: int = 1
    nucleoli: int = 0
    clock_face: float = 0.0
    bend: float = 0.0
    cytoplasm: Cytoplasm | None = None


# Keyed by CoNIC's class ids.
NUCLEUS_CLASSES = {
    1: NucleusClass(  # neutrophil: small, dark, three lobes, pale body
        long=(2.9, 3.5), short=(0.85, 1.0), hematoxylin=(2.2, 2.6), texture=0.08,
        grain=0.8, lobes=3, cytoplasm=Cytoplasm((7.0, 8.0), 0.5, 0.0, 0.16)),
    2: NucleusClass(  # epithelial: large, oval, vesicular, nucleolus
        long=(9.0, 12.0), short=(0.52, 0.72), hematoxylin=(0.75, 1.05), texture=0.3,
        grain=1.3, rim=0.5, irregular=0.05, nucleoli=2),
    3: NucleusClass(  # lymphocyte: small, round, dark
        long=(5.2, 6.4), short=(0.88, 1.0), hematoxylin=(1.55, 1.95), texture=0.14,
        grain=1.4, rim=0.1),
    4: NucleusClass(  # plasma: eccentric, clock-face chromatin, basophilic body
        long=(5.2, 6.2), short=(0.88, 1.0), hematoxylin=(1.0, 1.2), texture=0.1,
        grain=1.0, rim=0.3, clock_face=0.9,
        cytoplasm=Cytoplasm((9.5, 11.5), 4.0, 0.5, 0.5)),
    5: NucleusClass(  # eosinophil: two lobes, bright red granular body
        long=(3.7, 4.4), short=(0.85, 1.0), hematoxylin=(1.5, 1.8), texture=0.1,
        grain=1.0, lobes=2, cytoplasm=Cytoplasm((9.0, 10.5), 2.5, 0.0, 1.75, 0.3)),
    6: NucleusClass(  # connective: thin, elongated, often bent
        long=(11.0, 16.0), short=(0.2, 0.28), hematoxylin=(1.0, 1.5), texture=0.15,
        grain=1.2, rim=0.1, irregular=0.04, bend=0.15),
}


@dataclass(frozen=True)
class Nucleus:
    """A drawn nucleus on a square window of side 2 * reach + 1 px about its centre.

    Attributes:
        reach: Half the window's side, px.
        mask: Pixels of the nucleus, bool (side, side).
        coverage: Antialiased coverage of the nucleus, 0-1, (side, side).
        hematoxylin: Optical density within the nucleus, (side, side).
        body: Coverage of the cell body, 0-1, (side, side), if it has one.
        body_stain: Hematoxylin and eosin of the cell body, (2, side, side).
    """
    reach: int
    mask: np.ndarray
    coverage: np.ndarray
    hematoxylin: np.ndarray
    body: np.ndarray | None = None
    body_stain: np.ndarray | None = None


@lru_cache(maxsize=64)
def noise_tile(sigma: float, side: int = 512) -> np.ndarray:
    """Returns periodic smooth noise, mean 0 and spread 1, float32 (side, side)."""
    white = np.random.default_rng(0).standard_normal((side, side))
    smooth = gaussian_filter(white, sigma, mode='wrap')
    return ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)


def crop_noise(rng: np.random.Generator, sigma: float, side: int) -> np.ndarray:
    """Cuts a random square out of `noise_tile`."""
    tile = noise_tile(sigma)
    top, left = rng.integers(0, len(tile) - side, 2)
    return tile[top:top + side, left:left + side]


@lru_cache(maxsize=64)
def window(reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the x and y offsets from the centre of a window, px."""
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    return np.meshgrid(axis, axis)


def draw_nucleus(rng: np.random.Generator, class_id: int, angle: float,
                 scale: float = 1.0) -> Nucleus:
    """Draws one nucleus with random shape and chromatin.

    Args:
        rng: Source of randomness.
        class_id: Class, 1 to 6.
        angle: Direction of the long axis, radians from x towards y.
        scale: Factor on all lengths.
    """
    look = NUCLEUS_CLASSES[class_id]
    long = scale * rng.uniform(*look.long)
    short = long * rng.uniform(*look.short)
    reach = int(np.ceil(long * (1.15 if look.lobes == 1 else 2.4))) + 2
    if look.cytoplasm:
        reach = int(np.ceil(look.cytoplasm.radius[1] + look.cytoplasm.shift)) + 2
    x, y = window(reach)
    # Python floats: numpy's would turn the float32 maps into float64.
    sine, cosine = math.sin(angle), math.cos(angle)
    u = cosine * x + sine * y
    v = -sine * x + cosine * y
    v = v + rng.uniform(-1, 1) * look.bend * long * (u / long)**2
    theta = np.arctan2(v, u)
    if look.lobes == 1:
        phases = rng.uniform(0, 2 * np.pi, 3).tolist()
        outline = 1 + sum(
            look.irregular * rng.standard_normal() * np.cos(k * theta + phase)
            for k, phase in zip((2, 3, 4), phases, strict=True))
        depth = np.hypot(u / long, v / short) / outline
    else:
        depth = lobed_depth(rng, u, v, long, short, look.lobes)
    coverage = np.clip((1 - depth) * short + 0.5, 0, 1)
    chromatin = chromatin_of(rng, look, u, v, theta, depth, short)
    body = body_stain = None
    if look.cytoplasm:
        body, body_stain = draw_body(rng, look.cytoplasm, u, v)
    return Nucleus(reach, depth < 1, coverage, chromatin, body, body_stain)


def lobed_depth(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, long: float,
                short: float, lobes: int) -> np.ndarray:
    """Returns the depth, 0 centre to 1 outline, in a nucleus of lobes on an arc."""
    spread = (0.8 if lobes == 2 else 0.95) * long
    if lobes == 2:
        centres = [(-spread, 0.0), (spread, 0.0)]
    else:
        turns = 2 * np.pi * np.arange(lobes) / lobes
        turns = (turns + rng.uniform(-0.3, 0.3, lobes)).tolist()
        centres = [(spread * math.cos(t), spread * math.sin(t)) for t in turns]
    return np.min([np.hypot((u - a) / long, (v - b) / short) for a, b in centres],
                  axis=0)


def chromatin_of(rng: np.random.Generator, look: NucleusClass, u: np.ndarray,
                 v: np.ndarray, theta: np.ndarray, depth: np.ndarray,
                 short: float) -> np.ndarray:
    """Draws the optical density of hematoxylin within a nucleus."""
    density = rng.uniform(*look.hematoxylin)
    stain = density * (1 + look.texture * crop_noise(rng, look.grain, len(u)))
    if look.rim:
        stain += look.rim * np.exp(-((1 - depth) * short / 1.3)**2)
    if look.clock_face:
        spokes = np.maximum(0, np.cos(6 * theta + rng.uniform(0, 2 * np.pi)))
        stain += look.clock_face * spokes * np.clip(2 * depth - 0.5, 0, 1)
    if look.nucleoli:
        for _ in range(rng.integers(1, look.nucleoli + 1)):
            a, b = rng.uniform(-0.45 * short, 0.45 * short, 2).tolist()
            distance = (u - 1.3 * a)**2 + (v - b)**2
            stain += 0.8 * np.exp(-distance / (2 * 1.2**2))
    return np.maximum(stain, 0)


def draw_body(rng: np.random.Generator, cytoplasm: Cytoplasm, u: np.ndarray,
              v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws the coverage, 0-1, and the stain (2, side, side) of a cell body."""
    radius = rng.uniform(*cytoplasm.radius)
    distance = np.hypot((u - cytoplasm.shift) / radius,
                        v / (radius * rng.uniform(0.75, 0.95)))
    coverage = np.clip((1 - distance) * radius / 2 + 0.5, 0, 1)
    granules = 1 + cytoplasm.granules * crop_noise(rng, 0.7, len(u))
    # The pale Golgi zone beside an eccentric nucleus.
    pale = 1 - 0.5 * np.exp(-((u - 1.6 * cytoplasm.shift)**2 + v**2) / 8)
    if cytoplasm.hematoxylin == 0:
        pale = 1.0
    return coverage, np.stack(
        [cytoplasm.hematoxylin * pale * granules, cytoplasm.eosin * granules])
