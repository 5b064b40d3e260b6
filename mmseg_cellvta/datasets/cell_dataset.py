# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable, Sequence

import numpy as np
from mmseg.datasets import BaseSegDataset

from .labels import check_labels, count_nuclei

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
