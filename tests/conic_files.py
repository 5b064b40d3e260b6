# Copyright (c) CellVTA-MMSeg contributors.
"""A small CoNIC in its authors' format, shared by tests."""
import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmseg_cellvta.datasets.conic_dataset import PAPER_TEST_SOURCES

SIDE = 8  # px
TEST_SOURCES = json.loads(Path(PAPER_TEST_SOURCES).read_text())['sources']
COHORTS = sorted({source.split('_')[0] for source in TEST_SOURCES})
# 3,990 patches of 190 source images that CoNIC does not have, in its five cohorts.
TRAIN_SOURCES = {f'{COHORTS[index % 5]}_{index + 500}': 21 for index in range(190)}
# 20 patches of ten source images, of which the paper tests on one.
FEW_SOURCES = {f'{cohort}_{number}': 2 for cohort in ('consep', 'crag')
               for number in (1, 3, 4, 6, 12)}


def names_of(sources: Mapping[str, int]) -> list[str]:
    """Names of so many patches of each source image."""
    return [f'{source}-{index:04d}' for source, count in sources.items()
            for index in range(count)]


def write_conic(folder: Path, sources: Mapping[str, int] = FEW_SOURCES) -> Path:
    """Writes CoNIC's three files; each patch but the first has two nuclei."""
    folder.mkdir()
    names = names_of(sources)
    rng = np.random.default_rng(0)
    np.save(folder / 'images.npy', rng.integers(
        0, 256, (len(names), SIDE, SIDE, 3), dtype=np.uint8))
    labels = np.zeros((len(names), SIDE, SIDE, 2), np.uint16)
    labels[:, 1:3, 1:5] = 1, 2
    labels[:, 5:7, 1:5] = 300, 6
    labels[0] = 0
    np.save(folder / 'labels.npy', labels)
    with open(folder / 'patch_info.csv', 'w', newline='') as file:
        csv.writer(file).writerows([['patch_info'], *([name] for name in names)])
    return folder
