# Copyright (c) CellVTA-MMSeg contributors.
"""Division into parts: the user's own images by groups, CoNIC by source image."""
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from ..datasets.conic_dataset import PAPER_TEST_SOURCES, cohort_of

PAPER_SPLIT, CHALLENGE_SPLIT = 'paper.json', 'challenge.json'
FOLD_SEED = 19


@dataclass(frozen=True)
class GroupSplit:
    """Divides images into parts; those of one group, such as a patient, stay together.

    Attributes:
        val_share: Share of the groups for validation, 0-1.
        test_share: Share of the groups for testing, 0-1.
        pattern: Regular expression that is searched in the name of an image; its first
            round brackets enclose the name of the group. By default each image is a
            group.

    Raises:
        ValueError: When the shares leave nothing to train on, or the pattern is wrong.
    """
    val_share: float
    test_share: float
    pattern: str = '(.+)'

    def __post_init__(self) -> None:
        if min(self.val_share, self.test_share) < 0 or (
                self.val_share + self.test_share >= 1):
            raise ValueError(
                f'shares of {self.val_share} and {self.test_share} for validation and '
                'testing: expected 0 or more, together less than 1')
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f'--group {self.pattern}: {error}') from error
        if not groups:
            raise ValueError(f'--group {self.pattern}: expected round brackets around '
                             'what names the group')

    def assign(self, names: Sequence[str]) -> list[str]:
        """Returns the part of each image: 'train', 'val' or 'test'.

        It depends on the names alone, not on their order or the machine.

        Raises:
            ValueError: When a name has no group, or the groups are too few.
        """
        groups = [self._group(name) for name in names]
        # Ordered by a hash: arbitrary, yet repeatable.
        order = sorted(set(groups), key=lambda group: sha256(group.encode()).digest())
        num_val, num_test = (
            max(round(share * len(order)), 1) if share else 0
            for share in (self.val_share, self.test_share))
        if num_val + num_test >= len(order):
            raise ValueError(
                f'{len(order)} images or groups, of which {num_val} should validate '
                f'and {num_test} test: none is left to train on; give --val-share 0 or '
                '--test-share 0')
        part_of = dict.fromkeys(order, 'train')
        part_of.update(dict.fromkeys(order[:num_val], 'val'))
        part_of.update(dict.fromkeys(order[num_val:num_val + num_test], 'test'))
        return [part_of[group] for group in groups]

    def _group(self, name: str) -> str:
        match = re.search(self.pattern, name)
        if match is None or match[1] is None:
            raise ValueError(f'{name}: --group {self.pattern} does not match this name')
        return match[1]


def make_splits(sources: Sequence[str],
                num_folds: int) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Splits patches into training and test parts; no source image is in both.

    - `paper.json`: the test part of the CellVTA paper.
    - `challenge.json`: the 80/20 split of the challenge's baseline, its first trial.
    - `fold_<k>_of_<n>.json`: cross-validation, cohorts spread evenly.

    Args:
        sources: Source image, `<cohort>_<number>`, of each patch.
        num_folds: n, from 2 to the number of source images.

    Returns:
        For each file, the source images of its test part with their numbers of
        patches, and remarks for the user.

    Raises:
        ValueError: When `num_folds` does not fit.
    """
    patches = Counter(sources)
    splits = {}
    splits[PAPER_SPLIT], remarks = _paper_split(patches)
    try:
        splits[CHALLENGE_SPLIT] = _count(_challenge_split(patches), patches)
    except ValueError as error:
        remarks.append(f'splits/{CHALLENGE_SPLIT} is left out: {len(patches)} source '
                       f'images cannot be split as in the challenge ({error})')
    for number, test in enumerate(_folds(sources, num_folds), start=1):
        splits[f'fold_{number}_of_{num_folds}.json'] = _count(test, patches)
    return splits, remarks


def write_splits(folder: Path, splits: Mapping[str, Mapping[str, int]]) -> None:
    """Writes each split as `CoNICDataset(sources_file=...)` reads it."""
    folder.mkdir(exist_ok=True)
    for name, test in splits.items():
        content = dict(n_patches=sum(test.values()), sources=test)
        (folder / name).write_text(json.dumps(content, indent=1) + '\n')


def _paper_split(patches: Mapping[str, int]) -> tuple[dict[str, int], list[str]]:
    published = json.loads(Path(PAPER_TEST_SOURCES).read_text())['sources']
    present = _count(published, patches)
    differing = [f'{name} ({patches.get(name, 0)} patches instead of {number})'
                 for name, number in published.items()
                 if patches.get(name, 0) != number]
    if not differing:
        return present, []
    remark = (
        f'splits/{PAPER_SPLIT} is not the test part of the paper: it has '
        f'{sum(present.values())} of {sum(published.values())} patches, because '
        f'{len(differing)} of {len(published)} source images differ, the first is '
        f'{differing[0]}; scores cannot be compared with those of the paper')
    return present, [remark]


def _challenge_split(patches: Iterable[str]) -> list[str]:
    names = np.unique(list(patches))
    splitter = StratifiedShuffleSplit(
        n_splits=10, train_size=0.8, test_size=0.2, random_state=5)
    _, test = next(splitter.split(names, [cohort_of(name) for name in names]))
    return names[test].tolist()


def _folds(sources: Sequence[str], num_folds: int) -> list[set[str]]:
    available = len(set(sources))
    if not 2 <= num_folds <= available:
        raise ValueError(f'{num_folds} folds: expected 2 to {available}, the number of '
                         'source images')
    # Shuffled here: with scikit-learn's own shuffling, folds differ between its
    # versions and were less even before 1.8. RandomState draws alike in all of numpy's.
    names, groups = np.unique(sources, return_inverse=True)
    groups = np.random.RandomState(FOLD_SEED).permutation(len(names))[groups]
    cohorts = [cohort_of(name) for name in sources]
    splitter = StratifiedGroupKFold(num_folds)
    folds = [{sources[index] for index in test}
             for _, test in splitter.split(sources, cohorts, groups)]
    if not all(folds):
        raise ValueError(f'{num_folds} folds of {available} source images leave one '
                         'empty; choose fewer')
    return folds


def _count(names: Iterable[str], patches: Mapping[str, int]) -> dict[str, int]:
    return {name: patches[name] for name in sorted(names) if name in patches}
