# Copyright (c) CellVTA-MMSeg contributors.
import json
import os.path as osp
import zlib
from collections.abc import Sequence
from functools import partial

from mmseg.registry import DATASETS

from .cell_dataset import CellDataset
from .labels import PATCH_IMAGES, PATCH_LABELS, read_labels, read_patches

# Source images of the test split that the CellVTA paper's CoNIC results are on.
PAPER_TEST_SOURCES = osp.join(osp.dirname(__file__), 'conic_test_sources.json')


@DATASETS.register_module()
class CoNICDataset(CellDataset):
    """CoNIC patches, read from the files that the challenge distributes.

    ``data_root`` holds ``images.npy``, uint8 (N, H, W, 3) RGB; ``labels.npy``, uint16
    (N, H, W, 2) with instance id and class id; ``patch_info.csv``, one column
    ``patch_info`` with names ``<source image>-<running number>``. The arrays are memory
    mapped, never loaded whole.

    Patches of one source image overlap, hence splits never divide a source image.
    Every patch of the split is checked when the data set is built.

    Args:
        split (str, optional): 'train', 'val' or 'test'; None takes every patch.
        sources_file (str, optional): JSON file whose ``sources`` names the source
            images of the test split, relative to ``data_root`` or absolute. Defaults
            to the CellVTA paper's CoNIC test split, which comes with the package.
        val_share (float): Fraction of the source images outside the test split that
            'val' takes away from 'train'; the same ones every time. Defaults to 0.
        exclude_cohorts (Sequence[str]): Cohorts whose patches are left out of every
            split: those of PanNuke or CoNSeP where a model meets the other data set in
            training or test, because CoNIC has pictures of both. A cohort is the name
            of a source image before ``_``. Defaults to none.
        mpp (float): Size of a pixel in µm. Defaults to 0.5 (20x).
        tissue (str): Tissue that every patch shows. Defaults to 'Colon'.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If a file is damaged, files disagree, a label is wrong or the split
            is empty.
    """

    # The colour of eosinophils stands out from their red cytoplasm.
    METAINFO = dict(
        classes=('background', 'neutrophil', 'epithelial', 'lymphocyte', 'plasma',
                 'eosinophil', 'connective'),
        palette=[[0, 0, 0], [255, 225, 25], [60, 220, 75], [0, 110, 255],
                 [255, 30, 30], [0, 235, 235], [255, 130, 20]])

    def __init__(self, split: str | None = None, sources_file: str | None = None,
                 val_share: float = 0.0, exclude_cohorts: Sequence[str] = (),
                 mpp: float = 0.5, tissue: str = 'Colon', **kwargs) -> None:
        if split not in (None, 'train', 'val', 'test'):
            raise ValueError(
                f"split={split!r}: expected 'train', 'val', 'test' or None")
        if not 0 <= val_share < 1:
            raise ValueError(f'val_share={val_share}: expected a fraction in [0, 1)')
        self.split = split
        self.sources_file = sources_file or PAPER_TEST_SOURCES
        self.val_share = val_share
        self.exclude_cohorts = set(exclude_cohorts)
        super().__init__(mpp=mpp, tissue=tissue, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Check the files and list the patches of the split."""
        root = self.data_root or '.'
        _, _, rows = read_patches(root)
        names = [row['patch_info'] for row in rows]
        img_path, label_path = (
            osp.join(root, name) for name in (PATCH_IMAGES, PATCH_LABELS))
        return [
            self.make_entry(
                partial(read_labels, label_path, index),
                label_name=f'{label_path}[{index}] ({names[index]})',
                img_path=img_path, img_index=index, label_path=label_path,
                label_index=index, sample_name=names[index])
            for index in self._select(names)
        ]

    def _select(self, names: list[str]) -> list[int]:
        """Indices of the patches that belong to the split."""
        cohorts = [cohort_of(name) for name in names]
        unknown = self.exclude_cohorts - set(cohorts)
        if unknown:
            raise ValueError(
                f'{self.data_root}: exclude_cohorts names {sorted(unknown)}; the '
                f'patches are of {sorted(set(cohorts))}')
        kept = [i for i, cohort in enumerate(cohorts)
                if cohort not in self.exclude_cohorts]
        if self.split is None:
            return kept
        path = osp.join(self.data_root or '.', self.sources_file)
        test_sources = read_test_sources(path)
        sources = [source_of(name) for name in names]
        # Ordered by a hash: arbitrary, yet the same on every machine.
        others = sorted(set(sources) - test_sources,
                        key=lambda source: (zlib.crc32(source.encode()), source))
        num_val = round(self.val_share * len(others))
        wanted = dict(test=test_sources, val=set(others[:num_val]),
                      train=set(others[num_val:]))[self.split]
        indices = [i for i in kept if sources[i] in wanted]
        if not indices:
            raise ValueError(
                f'{self.data_root}: no patch for split={self.split!r} among '
                f'{len(names)} patches of {len(set(sources))} source images '
                f'(sources_file={path}, val_share={self.val_share})')
        return indices


def source_of(name: str) -> str:
    """Source image of a patch, by its name ``<source image>-<running number>``."""
    return name.rsplit('-', 1)[0]


def cohort_of(name: str) -> str:
    """Where a patch is from: 'consep', 'crag', 'dpath', 'glas' or 'pannuke'."""
    return name.split('_', 1)[0]


def read_test_sources(path: str) -> set:
    """Read the names of the test split's source images from a JSON file."""
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path}: no such file; sources_file lists the source '
                                'images of the test split')
    with open(path, encoding='utf-8') as file:
        content = json.load(file)
    if not isinstance(content, dict) or 'sources' not in content:
        raise ValueError(f"{path}: no key 'sources'; expected "
                         '{"sources": {"<source image>": <number of patches>}}')
    return set(content['sources'])
