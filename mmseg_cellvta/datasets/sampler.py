# Copyright (c) CellVTA-MMSeg contributors.
"""Draws images with rare classes or tissues more often, as CellViT and CellVTA do."""
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

STRATEGIES = ('cell', 'tissue', 'cell+tissue')


def cell_weights(present: np.ndarray, images_per_class: Sequence[int],
                 gamma: float) -> np.ndarray:
    """Weighs images by their rarest classes.

    Args:
        present: (N, C-1) bool, true where image i shows class j, without background.
        images_per_class: C-1 numbers of images that show the class.
        gamma: Strength, 0-1.

    Returns:
        Weights, float64 (N,); an image without nuclei gets the smallest weight of the
        others.
    """
    present = np.asarray(present, np.float64)
    class_weights = _inverse_share(np.asarray(images_per_class, np.float64), gamma)
    weights = (1 - gamma) * present.max(axis=1) + gamma * present @ class_weights
    shows_any = present.any(axis=1)
    lowest = weights[shows_any].min() if shows_any.any() else 1.0
    return np.where(shows_any, weights, lowest)


def tissue_weights(tissues: Sequence[str], images_per_tissue: Mapping[str, int],
                   gamma: float) -> np.ndarray:
    """Weighs images by the rarity of their tissue.

    Args:
        tissues: N tissue names.
        images_per_tissue: Number of images of each tissue.
        gamma: Strength, 0-1.

    Returns:
        Weights, float64 (N,).

    Raises:
        ValueError: When a tissue is not counted.
    """
    missing = sorted(set(tissues) - set(images_per_tissue))
    if missing:
        raise ValueError(f'tissue {missing[0]!r} is not among the counted tissues '
                         f'{sorted(images_per_tissue)}; add it to images_per_tissue')
    counts = np.array(list(images_per_tissue.values()), np.float64)
    weights = dict(zip(images_per_tissue, _inverse_share(counts, gamma), strict=True))
    return np.array([weights[tissue] for tissue in tissues])


def joint_weights(by_cell: np.ndarray, by_tissue: np.ndarray) -> np.ndarray:
    """Adds both kinds of weights, (N,), each divided by its largest: 0-2."""
    return by_tissue / by_tissue.max() + by_cell / by_cell.max()


def _inverse_share(counts: np.ndarray, gamma: float) -> np.ndarray:
    total = counts.sum()
    return total / (gamma * counts + (1 - gamma) * total)


@DATA_SAMPLERS.register_module()
class CellWeightedSampler(Sampler):
    """Draws images with rare classes or tissues more often, with replacement.

    An epoch has as many draws as the data set has images, divided among the processes.
    The weights are those of CellViT (arXiv:2306.15350), which CellVTA uses too.

    Args:
        dataset: Its entries say `nuclei_per_class` and `tissue`, as those of the data
            sets of this package do; wrappers of MMEngine are fine.
        strategy: 'cell' prefers rare classes, 'tissue' rare tissues, 'cell+tissue'
            both.
        gamma: Strength from 0 (every image has the same weight) to 1.
        images_per_class: Number of images that show each class, without background;
            counted in the data set if not given.
        images_per_tissue: Number of images of each tissue; counted in the data set if
            not given.
        seed: The same in every process; drawn if not given.

    Raises:
        ValueError: When an argument is out of range or the entries lack what is needed.
    """

    def __init__(self, dataset: BaseDataset, strategy: str, gamma: float = 0.85,
                 images_per_class: Sequence[int] | None = None,
                 images_per_tissue: Mapping[str, int] | None = None,
                 seed: int | None = None) -> None:
        if strategy not in STRATEGIES:
            raise ValueError(f'strategy={strategy!r}: choose from {list(STRATEGIES)}')
        if not 0 <= gamma <= 1:
            raise ValueError(f'gamma={gamma}: expected 0 to 1')
        entries = [dataset.get_data_info(index) for index in range(len(dataset))]
        weights = []
        if 'cell' in strategy:
            present = _classes_shown(entries)
            weights.append(cell_weights(
                present, images_per_class or present.sum(axis=0), gamma))
        if 'tissue' in strategy:
            tissues = _tissues(entries)
            weights.append(tissue_weights(
                tissues, images_per_tissue or Counter(tissues), gamma))
        self.weights = torch.from_numpy(
            joint_weights(*weights) if len(weights) == 2 else weights[0])
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        """Yields the indices of this process for one epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        draws = torch.multinomial(
            self.weights, len(self) * self.world_size, replacement=True,
            generator=generator)
        return iter(draws[self.rank::self.world_size].tolist())

    def __len__(self) -> int:
        """Number of draws of this process."""
        return math.ceil(len(self.weights) / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Changes the draws; the Runner calls it before each epoch."""
        self.epoch = epoch


def _classes_shown(entries: Sequence[dict]) -> np.ndarray:
    """(N, C-1) bool, true where an image shows a class."""
    if any('nuclei_per_class' not in entry for entry in entries):
        raise ValueError(
            'the data set does not say nuclei_per_class of its images, by which they '
            'are weighed; leave validate_labels=True, or add it in load_data_list')
    return np.array([entry['nuclei_per_class'] for entry in entries]) > 0


def _tissues(entries: Sequence[dict]) -> list[str]:
    tissues = [entry.get('tissue') for entry in entries]
    if None in tissues:
        raise ValueError(
            f'image {tissues.index(None)} has no tissue, by which images are weighed; '
            "choose strategy='cell'")
    return tissues
