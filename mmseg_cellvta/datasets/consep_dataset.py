# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmseg.registry import DATASETS

from .cell_dataset import CellFolderDataset
from .labels import LABEL_DIR
from .mat_labels import read_mat_labels

# HoVer-Net's merge of the 7 original classes: 3 healthy and 4 malignant epithelial
# -> 3; 5 fibroblast, 6 muscle and 7 endothelial -> 4 (index: id in the file).
MERGED_CLASSES = (0, 1, 2, 3, 3, 4, 4, 4)


@DATASETS.register_module()
class CoNSePDataset(CellFolderDataset):
    """CoNSeP images in the layout of the official archive, or converted.

    `data_root` holds `Images/*.png` and `Labels/*.mat` with `inst_map` and `type_map`,
    or is the folder that `tools/dataset_converters/consep.py` wrote. Images come in
    natural order (`train_2` before `train_10`), hence `indices` selects the same ones
    everywhere. `.mat` files with the original 7 classes are merged to 4 as HoVer-Net
    does (https://arxiv.org/abs/1812.06499).

    Every label file is read and checked when the data set is built.

    Args:
        mpp: Size of a pixel, µm; None for that of `dataset.json`, or 0.275 (40x).
        tissue: Tissue that every image shows.
        **kwargs: Arguments of `CellFolderDataset`.

    Raises:
        FileNotFoundError: When a folder or the label file of an image is missing.
        ValueError: When a folder holds no image or a label is wrong.
    """

    METAINFO = dict(
        classes=('background', 'other', 'inflammatory', 'epithelial',
                 'spindle-shaped'),
        palette=[[0, 0, 0], [255, 225, 25], [0, 110, 255], [60, 220, 75],
                 [255, 130, 20]])
    DEFAULT_MPP = 0.275

    def __init__(self, mpp: float | None = None, tissue: str = 'Colon',
                 **kwargs) -> None:
        super().__init__(mpp=mpp, tissue=tissue, **kwargs)

    def class_of_id(self) -> Sequence[int] | None:
        """Returns the merge if the label files hold the original classes."""
        paths = (self.root / LABEL_DIR).glob('*.mat')
        return MERGED_CLASSES if has_original_classes(paths) else None


def has_original_classes(label_paths: Iterable[Path]) -> bool:
    """Tells if any of the `.mat` files of a data set has more than the 4 classes.

    One file alone cannot tell: class 4 is epithelial in the original labels,
    spindle-shaped in merged ones.
    """
    return any(read_mat_labels(str(path))[1].max(initial=0) > 4
               for path in label_paths)
