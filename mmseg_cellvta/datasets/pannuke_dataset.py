# Copyright (c) CellVTA-MMSeg contributors.
import os.path as osp
from collections.abc import Sequence

from mmseg.registry import DATASETS

from ..utils.names import check_tissues
from .cell_dataset import CellDataset
from .labels import PATCH_INFO, read_patches

FOLDS = (1, 2, 3)


@DATASETS.register_module()
class PanNukeCellDataset(CellDataset):
    """PanNuke patches that `tools/dataset_converters/pannuke.py` wrote.

    `data_root` holds `fold1`, `fold2`, `fold3`, each with `images.npy`, `labels.npy`
    and `patch_info.csv`, which has a column `tissue` (see `labels`). The arrays are
    mapped into memory, never loaded whole. Every patch is checked when the data set is
    built.

    Args:
        folds: Folds to take, numbered 1 to 3 as by PanNuke's authors.
        mpp: Size of a pixel, µm; 0.25 is 40x.
        **kwargs: Arguments of `CellDataset`.

    Raises:
        FileNotFoundError: When a fold or one of its files is missing.
        ValueError: When `folds` is wrong, a file is damaged, files disagree or a label
            is wrong.
    """

    # Similar cells have the colours that they have in CoNIC.
    METAINFO = dict(
        classes=('background', 'neoplastic', 'inflammatory', 'connective', 'dead',
                 'epithelial'),
        palette=[[0, 0, 0], [255, 30, 30], [0, 110, 255], [255, 130, 20],
                 [255, 225, 25], [60, 220, 75]])

    def __init__(self, folds: Sequence[int], mpp: float = 0.25, **kwargs) -> None:
        wrong = isinstance(folds, (int, str)) or not folds
        if wrong or not set(folds) <= set(FOLDS) or len(set(folds)) < len(folds):
            raise ValueError(f'folds={folds!r}: expected a list of different numbers '
                             f'out of {list(FOLDS)}, such as [1]')
        self.folds = list(folds)
        super().__init__(mpp=mpp, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Checks the files and lists the patches of all folds."""
        entries = []
        for fold in self.folds:
            entries += self._load_fold(osp.join(self.data_root or '.', f'fold{fold}'))
        check_tissues(dict.fromkeys(entry['tissue'] for entry in entries),
                      str(self.data_root))
        return entries

    def _load_fold(self, folder: str) -> list[dict]:
        if not osp.isdir(folder):
            raise FileNotFoundError(
                f'{folder}: no such folder; make it from the original files with '
                'tools/dataset_converters/pannuke.py')
        _, _, rows = read_patches(folder)
        if 'tissue' not in rows[0]:
            raise ValueError(f'{osp.join(folder, PATCH_INFO)}: no column tissue')
        for row in rows:
            if not row['tissue']:
                raise ValueError(f'{osp.join(folder, PATCH_INFO)}: '
                                 f'{row["patch_info"]} has no tissue')
        return [self.make_patch_entry(folder, index, row, tissue=row['tissue'])
                for index, row in enumerate(rows)]
