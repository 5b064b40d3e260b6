# Copyright (c) CellVTA-MMSeg contributors.
"""How often images are drawn, by the classes and tissues that they show.

CellViT's over-sampling (arXiv:2306.15350, section 4.3.2), which CellVTA uses too. Gamma
goes from 0, every image alike, to 1, full weight on the rare. Plain numpy.
"""
from collections.abc import Mapping, Sequence

import numpy as np


def cell_weights(present: np.ndarray, images_per_class: Sequence[int],
                 gamma: float) -> np.ndarray:
    """Weigh images by their rarest classes.

    Args:
        present (np.ndarray): (N, C-1) bool, whether image i shows class j, without
            background.
        images_per_class (Sequence[int]): C-1 numbers of images that show the class.
        gamma (float): Strength, 0-1.

    Returns:
        np.ndarray: (N,) float64; an image without nuclei gets the smallest weight of
        the others.
    """
    present = np.asarray(present, np.float64)
    class_weights = _inverse_share(np.asarray(images_per_class, np.float64), gamma)
    weights = (1 - gamma) * present.max(axis=1) + gamma * present @ class_weights
    shows_any = present.any(axis=1)
    lowest = weights[shows_any].min() if shows_any.any() else 1.0
    return np.where(shows_any, weights, lowest)


def tissue_weights(tissues: Sequence[str], images_per_tissue: Mapping[str, int],
                   gamma: float) -> np.ndarray:
    """Weigh images by the rarity of their tissue.

    Args:
        tissues (Sequence[str]): N tissue names.
        images_per_tissue (Mapping[str, int]): Number of images of each tissue.
        gamma (float): Strength, 0-1.

    Returns:
        np.ndarray: (N,) float64.

    Raises:
        ValueError: If a tissue is not counted.
    """
    missing = sorted(set(tissues) - set(images_per_tissue))
    if missing:
        raise ValueError(f'tissue {missing[0]!r} is not among the counted tissues '
                         f'{sorted(images_per_tissue)}; add it to images_per_tissue')
    counts = np.array(list(images_per_tissue.values()), np.float64)
    weights = dict(zip(images_per_tissue, _inverse_share(counts, gamma), strict=True))
    return np.array([weights[tissue] for tissue in tissues])


def joint_weights(by_cell: np.ndarray, by_tissue: np.ndarray) -> np.ndarray:
    """Sum of both kinds of weights, (N,), each relative to its largest: up to 2."""
    return by_tissue / by_tissue.max() + by_cell / by_cell.max()


def _inverse_share(counts: np.ndarray, gamma: float) -> np.ndarray:
    total = counts.sum()
    return total / (gamma * counts + (1 - gamma) * total)
