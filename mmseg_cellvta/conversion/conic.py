# Copyright (c) CellVTA-MMSeg contributors.
"""CoNIC's own files, checked and copied, with splits that keep source images whole."""
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ..datasets.conic_dataset import CoNICDataset, source_of
from ..datasets.labels import PATCH_IMAGES, PATCH_INFO, PATCH_LABELS, read_patches
from ..utils.files import PendingFolder, describe_files, read_item
from .splits import PAPER_SPLIT, make_splits, write_splits
from .summary import DatasetSummary
from .writers import PatchWriter

CLASSES = CoNICDataset.METAINFO['classes'][1:]
SPLITS_DIR = 'splits'


def convert_conic(source: str | Path, out: str | Path, num_folds: int,
                  progress: Progress) -> tuple[DatasetSummary, list[str]]:
    """Checks and copies the three files and writes the splits.

    Args:
        source: Folder of `images.npy`, `labels.npy` and `patch_info.csv`.
        out: Folder to make; it appears when everything is in it.
        num_folds: Number of folds of the cross-validation split.
        progress: Gets a bar.

    Returns:
        What was copied, by part of the paper's split, and remarks for the user.

    Raises:
        OSError: When a file is missing, `out` exists or the disk has no room.
        ValueError: When a file is damaged, files disagree, a label is wrong or
            `num_folds` does not fit.
    """
    source = Path(source)
    images, _, rows = read_patches(str(source))
    sources = [source_of(row['patch_info']) for row in rows]
    splits, remarks = make_splits(sources, num_folds)
    image_path, label_path, info_path = (
        source / name for name in (PATCH_IMAGES, PATCH_LABELS, PATCH_INFO))
    folder = PendingFolder(out, dict(converter='conic', folds=num_folds) | (
        describe_files([image_path, label_path, info_path])))
    write_splits(folder.part / SPLITS_DIR, splits)

    def read_patch(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = read_item(label_path, index)
        return read_item(image_path, index), labels[..., 0], labels[..., 1]

    writer = PatchWriter(
        folder, '', rows, images.shape[1:3], len(CLASSES) + 1, label_path)
    writer.write(read_patch, progress)
    summary = DatasetSummary(CLASSES)
    summary.add_patches(folder.part / PATCH_LABELS, [
        'test' if name in splits[PAPER_SPLIT] else 'train' for name in sources])
    folder.publish()
    return summary, remarks
