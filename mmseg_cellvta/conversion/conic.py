# Copyright (c) CellVTA-MMSeg contributors.
"""CoNIC's own files, checked and copied, with splits that keep source images whole."""
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from ..datasets.conic_dataset import PAPER_TEST_SOURCES, CoNICDataset, source_of
from ..datasets.labels import PATCH_IMAGES, PATCH_INFO, PATCH_LABELS, read_patches
from ..utils.files import PendingFolder, describe_files
from .summary import DatasetSummary
from .writers import PatchWriter, read_item

CLASSES = CoNICDataset.METAINFO['classes'][1:]
SPLITS = 'splits'
PAPER = 'paper.json'
SEED = 19  # of the folds


def convert_conic(source: str | Path, out: str | Path, num_folds: int,
                  progress: Progress) -> tuple[DatasetSummary, list[str]]:
    """Check and copy the three files and write the splits.

    Args:
        source (str | Path): Folder of ``images.npy``, ``labels.npy`` and
            ``patch_info.csv``.
        out (str | Path): Folder to make; it appears when everything is in it.
        num_folds (int): Number of folds of the cross-validation split.
        progress (Progress): Shows a bar.

    Returns:
        tuple: What was copied, by part of the paper's split, and remarks for the user.

    Raises:
        OSError: If a file is missing, `out` exists or there is no room on the disk.
        ValueError: If a file is damaged, files disagree, a label is wrong or
            `num_folds` does not fit.
    """
    source = Path(source)
    images, _, rows = read_patches(str(source))
    sources = [source_of(row['patch_info']) for row in rows]
    splits, remarks = make_splits(sources, num_folds)
    files = [source / name for name in (PATCH_IMAGES, PATCH_LABELS, PATCH_INFO)]
    folder = PendingFolder(
        out, dict(converter='conic', folds=num_folds) | describe_files(files))
    write_splits(folder.part / SPLITS, splits)

    def read(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = read_item(source / PATCH_LABELS, index)
        return read_item(source / PATCH_IMAGES, index), labels[..., 0], labels[..., 1]

    task = progress.add_task('CoNIC', total=len(rows))
    writer = PatchWriter(folder, '', rows, images.shape[1:3], len(CLASSES) + 1,
                         source=source / PATCH_LABELS)
    writer.write(read, partial(progress.advance, task))
    summary = DatasetSummary(CLASSES)
    summary.add_patches(folder.part / PATCH_LABELS, [
        'test' if name in splits[PAPER] else 'train' for name in sources])
    folder.publish()
    return summary, remarks


def make_splits(sources: Sequence[str],
                num_folds: int) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Split patches into training and test parts; no source image is on both sides.

    - ``paper.json``: the test part of the CellVTA paper.
    - ``challenge.json``: the 80/20 split of the challenge's baseline, its first trial.
    - ``fold_<k>_of_<n>.json``: cross-validation, cohorts spread evenly.

    Args:
        sources (Sequence[str]): Source image, ``<cohort>_<number>``, of each patch.
        num_folds (int): n.

    Returns:
        tuple: Of each file, the source images of its test part with their numbers of
        patches, and remarks for the user.
    """
    patches = Counter(sources)
    splits = {}
    splits[PAPER], remarks = _paper_split(patches)
    try:
        splits['challenge.json'] = _count(_challenge_split(patches), patches)
    except ValueError as error:
        remarks.append(f'splits/challenge.json is left out: {len(patches)} source '
                       f'images cannot be split as in the challenge ({error})')
    for number, test in enumerate(_folds(sources, num_folds), start=1):
        splits[f'fold_{number}_of_{num_folds}.json'] = _count(test, patches)
    return splits, remarks


def write_splits(folder: Path, splits: Mapping[str, Mapping[str, int]]) -> None:
    """Write each split as ``CoNICDataset(sources_file=...)`` reads it."""
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
        f'splits/paper.json is not the test part of the paper: it has '
        f'{sum(present.values())} of {sum(published.values())} patches, because '
        f'{len(differing)} of {len(published)} source images differ, the first is '
        f'{differing[0]}; scores cannot be compared with those of the paper')
    return present, [remark]


def _challenge_split(patches: Iterable[str]) -> list[str]:
    names = np.unique(list(patches))
    splitter = StratifiedShuffleSplit(
        n_splits=10, train_size=0.8, test_size=0.2, random_state=5)
    _, test = next(splitter.split(names, [_cohort(name) for name in names]))
    return names[test].tolist()


def _folds(sources: Sequence[str], num_folds: int) -> list[set[str]]:
    available = len(set(sources))
    if not 2 <= num_folds <= available:
        raise ValueError(f'{num_folds} folds: expected 2 to {available}, the number of '
                         'source images')
    # Shuffled here: with scikit-learn's own shuffling, folds differ between its
    # versions and were less even before 1.8. RandomState draws alike in all of numpy's.
    names, groups = np.unique(sources, return_inverse=True)
    groups = np.random.RandomState(SEED).permutation(len(names))[groups]
    cohorts = [_cohort(name) for name in sources]
    splitter = StratifiedGroupKFold(num_folds)
    folds = [{sources[index] for index in test}
             for _, test in splitter.split(sources, cohorts, groups)]
    if not all(folds):
        raise ValueError(f'{num_folds} folds of {available} source images leave one '
                         'empty; choose fewer')
    return folds


def _cohort(source: str) -> str:
    return source.split('_')[0]


def _count(names: Iterable[str], patches: Mapping[str, int]) -> dict[str, int]:
    return {name: patches[name] for name in sorted(names) if name in patches}
