# Copyright (c) CellVTA-MMSeg contributors.
"""CoNIC's patches and their splits, which keep source images whole."""
import os.path as osp
import zlib
from collections.abc import Sequence

from mmseg.registry import DATASETS

from ..utils.files import read_json
from .cell_dataset import CellDataset
from .labels import read_patches

# Source images of the test split that the CellVTA paper's CoNIC results are on.
PAPER_TEST_SOURCES = osp.join(osp.dirname(__file__), 'conic_test_sources.json')


@DATASETS.register_module()
class CoNICDataset(CellDataset):
    """CoNIC patches, read from the files that the challenge distributes.

    `data_root` holds `images.npy`, uint8 (N, H, W, 3) RGB; `labels.npy`, uint16
    (N, H, W, 2) with instance id and class id; `patch_info.csv`, one column
    `patch_info` with names `<source image>-<running number>`. The arrays are mapped
    into memory, never loaded whole.

    Patches of one source image overlap, hence splits never divide a source image.
    Every patch of the split is checked when the data set is built.

    Args:
        split: 'train', 'val' or 'test'; None takes every patch.
        sources_file: JSON file whose `sources` names the source images of the test
            split, relative to `data_root` or absolute; None for the CellVTA paper's
            CoNIC test split, which comes with the package.
        val_share: Fraction of the source images outside the test split that 'val'
            takes away from 'train', in [0, 1); the same ones every time.
        exclude_cohorts: Cohorts whose patches are left out of every split: those of
            PanNuke or CoNSeP when a model is trained or tested on the other data set
            too, because CoNIC has images of both. A cohort is the name of a source
            image before `_`.
        mpp: Size of a pixel, µm; 0.5 is 20x.
        tissue: Tissue that every patch shows.
        **kwargs: Arguments of `CellDataset`.

    Raises:
        FileNotFoundError: When one of the files is missing.
        ValueError: When a file is damaged, files disagree, a label is wrong or the
            split is empty.
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
        """Checks the files and lists the patches of the split."""
        root = self.data_root or '.'
        _, _, rows = read_patches(root)
        indices = self._select([row['patch_info'] for row in rows])
        return [self.make_patch_entry(root, index, rows[index]) for index in indices]

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
    """Returns the source image of a patch `<source image>-<running number>`."""
    return name.rsplit('-', 1)[0]


def cohort_of(name: str) -> str:
    """Returns where a patch is from: consep, crag, dpath, glas or pannuke."""
    return name.split('_', 1)[0]


def read_test_sources(path: str) -> set[str]:
    """Reads the names of the test split's source images from a JSON file."""
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path}: no such file; sources_file lists the source '
                                'images of the test split')
    content = read_json(path)
    if not isinstance(content, dict) or 'sources' not in content:
        raise ValueError(f"{path}: no key 'sources'; expected "
                         '{"sources": {"<source image>": <number of patches>}}')
    if not isinstance(content['sources'], dict | list) or not all(
            isinstance(source, str) for source in content['sources']):
        raise ValueError(f"{path}: 'sources' is no list of names of source images, "
                         'nor numbers of patches by such names')
    return set(content['sources'])
