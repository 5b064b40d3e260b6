# Copyright (c) CellVTA-MMSeg contributors.
import os.path as osp
import re
from functools import partial
from pathlib import Path

from mmseg.registry import DATASETS

from .cell_dataset import CellDataset
from .label_io import read_mat_labels

# HoVer-Net's merge of the 7 original classes: 3 healthy and 4 malignant epithelial
# -> 3; 5 fibroblast, 6 muscle and 7 endothelial -> 4 (index: id in the file).
MERGED_CLASSES = (0, 1, 2, 3, 3, 4, 4, 4)


@DATASETS.register_module()
class CoNSePDataset(CellDataset):
    """CoNSeP images in the layout of the official archive.

    ``data_root`` holds ``Images/*.png`` and ``Labels/*.mat`` with ``inst_map`` and
    ``type_map``. Images come in natural order (``train_2`` before ``train_10``), hence
    ``indices`` selects the same ones everywhere. Files with the original 7 classes are
    merged to 4 as HoVer-Net does (https://arxiv.org/abs/1812.06499).

    Every label file is read and checked when the data set is built.

    Args:
        mpp (float): Size of a pixel in µm. Defaults to 0.275 (40x).
        tissue (str): Tissue that every image shows. Defaults to 'Colon'.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`.

    Raises:
        FileNotFoundError: If a folder or the label file of an image is missing.
        ValueError: If a folder holds no image or a label is wrong.
    """

    METAINFO = dict(
        classes=('background', 'other', 'inflammatory', 'epithelial',
                 'spindle-shaped'),
        palette=[[0, 0, 0], [255, 225, 25], [0, 110, 255], [60, 220, 75],
                 [255, 130, 20]])

    def __init__(self, mpp: float = 0.275, tissue: str = 'Colon',
                 img_suffix: str = '.png', **kwargs) -> None:
        super().__init__(mpp=mpp, tissue=tissue, img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images of the folder and check their labels."""
        img_dir = Path(self.data_root or '.', 'Images')
        if not img_dir.is_dir():
            raise FileNotFoundError(f'{img_dir}: no such folder; data_root must hold '
                                    'Images and Labels')
        img_paths = sorted(img_dir.glob(f'*{self.img_suffix}'), key=natural_key)
        if not img_paths:
            raise ValueError(f'{img_dir}: no {self.img_suffix} file in it')
        label_paths = [
            osp.join(img_dir.parent, 'Labels', f'{path.stem}.mat')
            for path in img_paths
        ]
        # One file alone cannot tell: class 4 is epithelial in the original labels,
        # spindle-shaped in merged ones.
        original = any(read_mat_labels(path)[1].max() > 4 for path in label_paths)
        return [
            self.make_entry(
                partial(read_mat_labels, label_path), label_name=label_path,
                class_of_id=MERGED_CLASSES if original else None,
                img_path=str(img_path), label_path=label_path,
                sample_name=img_path.stem)
            for img_path, label_path in zip(img_paths, label_paths, strict=True)
        ]


def natural_key(path: Path) -> list:
    """Sorting key that orders the numbers within a file name by value."""
    return [
        int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.name)
    ]
