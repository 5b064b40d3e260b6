# Copyright (c) CellVTA-MMSeg contributors.
"""What all data sets of nuclei have in common, and the data set of an image folder."""
import os.path as osp
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from natsort import natsorted, ns

from ..configuration.stock_inferencer import without_stock_loader
from ..utils.names import check_class_names, check_image_names
from ..utils.pixel_size import mpp_problem
from .labels import (
    IMAGE_DIR,
    IMAGE_SUFFIX,
    INFO_FILE,
    LABEL_DIR,
    PATCH_IMAGES,
    PATCH_LABELS,
    check_labels,
    count_nuclei,
    read_info,
    read_labels,
    read_names,
)

ONE_CLASS = dict(classes=('background', 'nucleus'), palette=[[0, 0, 0], [60, 220, 75]])


class CellDataset(BaseSegDataset):
    """Base of the data sets of nuclei: makes and checks the entries of their lists.

    Args:
        mpp: Size of a pixel, µm.
        tissue: Tissue that every image shows, where the data set does not say it by
            image.
        validate_labels: Read and check every label when the data set is built, so that
            a wrong one stops before training starts. Without it the entries have no
            `nuclei_per_class`.
        class_agnostic: Call every nucleus 'nucleus', whatever its class: for a
            segmentor whose nuclei get their classes later.
        pipeline: Configs of the transforms.
        **kwargs: Arguments of `mmseg.datasets.BaseSegDataset`.

    Raises:
        ValueError: When no pixel has the size `mpp`, or a class name is wrong.
    """

    def __init__(self, mpp: float, tissue: str | None = None,
                 validate_labels: bool = True, class_agnostic: bool = False,
                 pipeline: Sequence[dict] = (), **kwargs) -> None:
        if problem := mpp_problem(mpp):
            raise ValueError(f'mpp={mpp}: {problem}')
        self.mpp = mpp
        self.tissue = tissue
        self.validate_labels = validate_labels
        self.class_agnostic = class_agnostic
        super().__init__(pipeline=without_stock_loader(pipeline), **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: dict | None = None) -> dict:
        """Collects classes and palette; no two classes may have one name."""
        loaded = super()._load_metainfo(metainfo)
        if 'classes' in loaded:
            check_class_names(loaded['classes'], f'{cls.__name__}: metainfo')
        return loaded

    @property
    def metainfo(self) -> dict:
        """Classes and palette as pipeline, model and metric get them."""
        return super().metainfo | (ONE_CLASS if self.class_agnostic else {})

    def make_entry(self, img_path: str, label_path: str, sample_name: str, *,
                   index: int | None = None,
                   class_of_id: Sequence[int] | None = None, **keys) -> dict:
        """Describes an image for the pipeline and checks its labels.

        Args:
            img_path: Image file, or the `images.npy` of patch arrays.
            label_path: Label file, or the `labels.npy` of patch arrays.
            sample_name: Name of the image.
            index: Number of the patch in patch arrays; None for files of one image.
            class_of_id: Class of each class id in the label file, where they differ.
            **keys: What else the transforms read, such as `tissue`.

        Returns:
            Entry of the data list. Samplers weigh images by its `nuclei_per_class`, C-1
            numbers, without background.

        Raises:
            ValueError: When a label is wrong, see `check_labels`.
        """
        num_classes = len(self.metainfo['classes'])
        if self.class_agnostic:
            ids_in_file = len(class_of_id or self._metainfo['classes'])
            class_of_id = (0, *[1] * (ids_in_file - 1))
        entry = dict(
            img_path=img_path, label_path=label_path, sample_name=sample_name,
            mpp=self.mpp, tissue=self.tissue, num_classes=num_classes,
            class_of_id=class_of_id, label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label, seg_fields=[]) | keys
        if index is not None:
            entry |= dict(img_index=index, label_index=index)
        if self.validate_labels:
            entry['nuclei_per_class'] = _count_checked(entry)
        return entry

    def make_patch_entry(self, folder: str, index: int, row: dict, **keys) -> dict:
        """Describes one patch of the patch arrays in a folder, see `make_entry`.

        Args:
            folder: Folder of the arrays.
            index: Number of the patch.
            row: Its row of `patch_info.csv`.
            **keys: What else the transforms read.
        """
        return self.make_entry(
            osp.join(folder, PATCH_IMAGES), osp.join(folder, PATCH_LABELS),
            row['patch_info'], index=index, **keys)


def _count_checked(entry: dict) -> list[int]:
    """Nuclei of each class of an entry, without background, if its labels are right."""
    name, index = entry['label_path'], entry.get('label_index')
    inst_map, class_map = read_labels(name, index)
    if index is not None:
        name = f'{name}[{index}] ({entry["sample_name"]})'
    num_classes, class_of_id = entry['num_classes'], entry['class_of_id']
    ids_in_file = num_classes if class_of_id is None else len(class_of_id)
    check_labels(inst_map, class_map, ids_in_file, name)
    if class_of_id is not None:
        class_map = np.asarray(class_of_id, np.uint8)[class_map]
    return count_nuclei(inst_map, class_map, num_classes).tolist()


def check_result_names(entries: Iterable[dict], where: str) -> None:
    """Checks that no two images would leave results under one name.

    Args:
        entries: Entries of data lists, also of several data sets.
        where: Config that names the data sets, for errors.

    Raises:
        ValueError: When a name belongs to several images, or cannot name a file.
    """
    images = {(entry.get('sample_name', Path(entry['img_path']).stem),
               entry['img_path'], entry.get('img_index')) for entry in entries}
    check_image_names([name for name, *_ in images], where)


@DATASETS.register_module()
class CellFolderDataset(CellDataset):
    """Images of any size with a label file each, in an image folder (see `labels`).

    The converters in `tools/dataset_converters` write such folders. `ann_file` names a
    list of images; without one every image is taken. Images come in natural order
    (`a_2` before `a_10`), hence `indices` selects the same ones everywhere. Labels are
    `.npy` files, mapped into memory, or HoVer-Net's `.mat`.

    Args:
        mpp: Size of a pixel, µm; that of `dataset.json` unless given.
        metainfo: `classes` and `palette`, background first, where they are not those of
            `dataset.json`.
        data_root: Folder of the data set.
        num_classes: Classes of the model, background included; another number of
            classes in the folder is an error.
        **kwargs: Arguments of `CellDataset`.

    Raises:
        FileNotFoundError: When a folder, a list or the label file of an image is
            missing.
        ValueError: When classes or the size of a pixel are not known, a list names an
            image that is not in the folder, or a label is wrong.
    """

    DEFAULT_MPP: float | None = None

    def __init__(self, mpp: float | None = None, metainfo: dict | None = None,
                 data_root: str | None = None, num_classes: int | None = None,
                 **kwargs) -> None:
        self.root = Path(data_root or '.')
        info = read_info(self.root)
        known = {key: info[key] for key in ('classes', 'palette')
                 if key in info and key not in self.METAINFO}
        metainfo = {**known, **(metainfo or {})}
        if mpp is None:
            mpp = info.get('mpp', self.DEFAULT_MPP)
        if mpp is None or 'classes' not in {**self.METAINFO, **metainfo}:
            raise ValueError(
                f'{self.root / INFO_FILE}: no such file; it says classes and mpp, or '
                'give metainfo and mpp to the data set')
        self.listed_classes = info.get('classes')
        self.num_classes = num_classes
        super().__init__(mpp=mpp, metainfo=metainfo, data_root=data_root,
                         img_suffix=IMAGE_SUFFIX, **kwargs)

    def class_of_id(self) -> Sequence[int] | None:
        """Returns the class of each class id in the label files; None if they agree."""
        return None

    def load_data_list(self) -> list[dict]:
        """Lists the images and checks their labels."""
        self._check_classes()
        names = self._list_names()
        label_paths = [self._find_label(name) for name in names]
        class_of_id = self.class_of_id()
        return [
            self.make_entry(str(self.root / IMAGE_DIR / f'{name}{IMAGE_SUFFIX}'), path,
                            name, class_of_id=class_of_id)
            for name, path in zip(names, label_paths, strict=True)
        ]

    def _check_classes(self) -> None:
        """Other names for the classes are fine, another number or order is not."""
        names, listed = list(self.metainfo['classes']), self.listed_classes
        if self.num_classes not in (None, len(names)):
            raise ValueError(
                f'{self.root}: {len(names)} classes, {", ".join(names)}, but the '
                f'config says num_classes={self.num_classes}; set '
                f'num_classes={len(names)}')
        if listed is None or self.class_agnostic:
            return
        moved = [name for i, name in enumerate(names[:len(listed)])
                 if name in listed and listed[i] != name]
        if len(names) != len(listed) or moved:
            raise ValueError(
                f'{self.root / INFO_FILE}: lists the classes {listed}, asked for are '
                f'{names}; classes can be renamed, not left out or reordered')

    def _list_names(self) -> list[str]:
        """Names of the images, in natural order."""
        img_dir = self.root / IMAGE_DIR
        if not img_dir.is_dir():
            raise FileNotFoundError(f'{img_dir}: no such folder; data_root must hold '
                                    f'{IMAGE_DIR} and {LABEL_DIR}')
        present = {path.name.removesuffix(IMAGE_SUFFIX)
                   for path in img_dir.glob(f'*{IMAGE_SUFFIX}')}
        if not present:
            raise ValueError(f'{img_dir}: no {IMAGE_SUFFIX} file in it')
        deeper = next(img_dir.glob(f'*/*{IMAGE_SUFFIX}'), None)
        if deeper is not None and not self.ann_file:
            raise ValueError(f'{deeper}: folders in {IMAGE_DIR} are not read; move '
                             f'their images to {img_dir}, under names of their own')
        names = read_names(self.ann_file, present) if self.ann_file else present
        check_image_names(names, str(img_dir))
        # Natural order alone does not tell a_1 from a_01.
        return natsorted(names, alg=ns.PRESORT)

    def _find_label(self, name: str) -> str:
        paths = [self.root / LABEL_DIR / f'{name}{suffix}'
                 for suffix in ('.npy', '.mat')]
        for path in paths:
            if path.is_file():
                return str(path)
        raise FileNotFoundError(f'{paths[0]}: no such label file, and no '
                                f'{paths[1].name}')
