# Copyright (c) CellVTA-MMSeg contributors.
"""CoNIC's own files, checked and copied, with splits that keep source images whole."""
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ..datasets.conic_dataset import CoNICDataset, source_of
from ..datasets.labels import (
    PATCH_IMAGES,
    PATCH_INFO,
    PATCH_LABELS,
    read_item,
    read_patches,
)
from ..utils.files import PendingFolder, describe_files
from .splits import PAPER, make_splits, write_splits
from .summary import DatasetSummary
from .writers import PatchWriter

CLASSES = CoNICDataset.METAINFO['classes'][1:]
SPLITS = 'splits'


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
