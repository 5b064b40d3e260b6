# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .labels import (
    IMAGE_DIR,
    INFO_FILE,
    LABEL_DIR,
    check_labels,
    count_nuclei,
    natural_key,
    read_info,
    read_labels,
    read_names,
)

ONE_CLASS = dict(classes=('background', 'nucleus'), palette=[[0, 0, 0], [60, 220, 75]])


class CellDataset(BaseSegDataset):
    """Base of the data sets of nuclei: what every entry of their lists says.

    Args:
        mpp (float): Size of a pixel in µm.
        tissue (str, optional): Tissue that every image shows, where the data set does
            not say it by image.
        validate_labels (bool): Read and check every label when the data set is built,
            so that a wrong one stops before training starts. Without it the entries
            have no ``nuclei_per_class``. Defaults to True.
        class_agnostic (bool): Call every nucleus 'nucleus', whatever its class: for a
            segmentor whose nuclei get their classes later. Defaults to False.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`.

    Raises:
        ValueError: If `mpp` is no positive number.
    """

    def __init__(self, mpp: float, tissue: str | None = None,
                 validate_labels: bool = True, class_agnostic: bool = False,
                 **kwargs) -> None:
        if not mpp > 0:
            raise ValueError(f'mpp={mpp}: expected µm/px above 0, such as 0.25 for 40x')
        self.mpp = mpp
        self.tissue = tissue
        self.validate_labels = validate_labels
        self.class_agnostic = class_agnostic
        super().__init__(**kwargs)

    @property
    def metainfo(self) -> dict:
        """Classes and palette as pipeline, model and metric shall see them."""
        return super().metainfo | (ONE_CLASS if self.class_agnostic else {})

    def make_entry(self, read_labels: Callable[[], tuple[np.ndarray, np.ndarray]], *,
                   label_name: str, class_of_id: Sequence[int] | None = None,
                   **keys) -> dict:
        """Describe an image for the pipeline and check its labels.

        Args:
            read_labels (Callable): Returns instance ids, integer (H, W), 0 background,
                and class ids of the file, integer (H, W).
            label_name (str): What an error calls these labels.
            class_of_id (Sequence[int], optional): Class of each class id of the file,
                where they differ.
            **keys: ``img_path``, ``label_path``, ``sample_name`` and what else the
                transforms read.

        Returns:
            dict: Entry of the data list; ``nuclei_per_class`` (C-1 numbers, without
            background) is what samplers weigh images by.

        Raises:
            ValueError: If a label is wrong, see ``check_labels``.
        """
        num_classes = len(self.metainfo['classes'])
        if self.class_agnostic:
            ids_in_file = len(class_of_id or self._metainfo['classes'])
            class_of_id = (0, *[1] * (ids_in_file - 1))
        entry = dict(
            mpp=self.mpp, tissue=self.tissue, num_classes=num_classes,
            class_of_id=class_of_id, label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label, seg_fields=[]) | keys
        if self.validate_labels:
            inst_map, class_map = read_labels()
            ids_in_file = num_classes if class_of_id is None else len(class_of_id)
            check_labels(inst_map, class_map, ids_in_file, label_name)
            if class_of_id is not None:
                class_map = np.asarray(class_of_id, np.uint8)[class_map]
            counts = count_nuclei(inst_map, class_map, num_classes)
            entry['nuclei_per_class'] = counts.tolist()
        return entry


@DATASETS.register_module()
class CellFolderDataset(CellDataset):
    """Pictures of any size with a label file each, in a folder (see ``cell_folder``).

    The converters in ``tools/dataset_converters`` write such folders. ``ann_file``
    names a list of pictures; without one every picture is taken. Pictures come in
    natural order (``a_2`` before ``a_10``), hence ``indices`` selects the same ones
    everywhere. Labels are ``.npy`` files, memory-mapped, or HoVer-Net's ``.mat``.

    Args:
        mpp (float, optional): Size of a pixel in µm; that of ``dataset.json`` unless
            given.
        metainfo (dict, optional): ``classes`` and ``palette``, background first, where
            they are not those of ``dataset.json``.
        data_root (str, optional): Folder of the data set.
        img_suffix (str): Suffix of the pictures. Defaults to '.png'.
        num_classes (int, optional): Classes that the model tells apart, background
            included; another number of classes is an error.
        **kwargs: Arguments of ``CellDataset``.

    Raises:
        FileNotFoundError: If a folder, a list or the label file of a picture is
            missing.
        ValueError: If classes or the size of a pixel are not known, a list names a
            picture that is not there, or a label is wrong.
    """

    DEFAULT_MPP: float | None = None

    def __init__(self, mpp: float | None = None, metainfo: dict | None = None,
                 data_root: str | None = None, img_suffix: str = '.png',
                 num_classes: int | None = None, **kwargs) -> None:
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
                         img_suffix=img_suffix, **kwargs)

    def class_of_id(self) -> Sequence[int] | None:
        """Class of each class id of the label files, if they differ."""
        return None

    def load_data_list(self) -> list[dict]:
        """List the pictures and check their labels."""
        self._check_classes()
        names = self._list_names()
        label_paths = [self._find_label(name) for name in names]
        class_of_id = self.class_of_id()
        return [
            self.make_entry(
                partial(read_labels, path), label_name=path, class_of_id=class_of_id,
                img_path=str(self.root / IMAGE_DIR / f'{name}{self.img_suffix}'),
                label_path=path, sample_name=name)
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
        """Names of the pictures, in natural order."""
        img_dir = self.root / IMAGE_DIR
        if not img_dir.is_dir():
            raise FileNotFoundError(f'{img_dir}: no such folder; data_root must hold '
                                    f'{IMAGE_DIR} and {LABEL_DIR}')
        present = {path.name.removesuffix(self.img_suffix)
                   for path in img_dir.glob(f'*{self.img_suffix}')}
        if not present:
            raise ValueError(f'{img_dir}: no {self.img_suffix} file in it')
        names = read_names(self.ann_file, present) if self.ann_file else present
        return sorted(names, key=natural_key)

    def _find_label(self, name: str) -> str:
        paths = [self.root / LABEL_DIR / f'{name}{suffix}'
                 for suffix in ('.npy', '.mat')]
        for path in paths:
            if path.is_file():
                return str(path)
        raise FileNotFoundError(f'{paths[0]}: no such label file, and no '
                                f'{paths[1].name}')
