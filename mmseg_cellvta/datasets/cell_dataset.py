# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import numpy as np
from mmseg.datasets import BaseSegDataset

from .label_io import check_labels, count_nuclei


class CellDataset(BaseSegDataset):
    """Base of the data sets of nuclei: what every entry of their lists says.

    Args:
        mpp (float): Size of a pixel in µm.
        tissue (str, optional): Tissue that every image shows, where the data set does
            not say it by image.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`.

    Raises:
        ValueError: If `mpp` is no positive number.
    """

    def __init__(self, mpp: float, tissue: str | None = None, **kwargs) -> None:
        if not mpp > 0:
            raise ValueError(f'mpp={mpp}: expected µm/px above 0, such as 0.25 for 40x')
        self.mpp = mpp
        self.tissue = tissue
        super().__init__(**kwargs)

    def make_entry(self, inst_map: np.ndarray, class_map: np.ndarray, *,
                   label_name: str, class_of_id: Sequence[int] | None = None,
                   **keys) -> dict:
        """Check the labels of an image and describe it for the pipeline.

        Args:
            inst_map (np.ndarray): Instance ids, integer (H, W), 0 background.
            class_map (np.ndarray): Class ids of the file, integer (H, W).
            label_name (str): What an error calls these labels.
            class_of_id (Sequence[int], optional): Class of each class id of the file,
                where they differ.
            **keys: ``img_path``, ``label_path``, ``sample_name`` and what else the
                transforms read.

        Returns:
            dict: Entry of the data list; ``nuclei_per_class`` (C-1 numbers, without
            background) is what samplers weigh images by.
        """
        num_classes = len(self.metainfo['classes'])
        ids_in_file = num_classes if class_of_id is None else len(class_of_id)
        check_labels(inst_map, class_map, ids_in_file, label_name)
        if class_of_id is not None:
            class_map = np.asarray(class_of_id, np.uint8)[class_map]
        counts = count_nuclei(inst_map, class_map, num_classes)
        return dict(
            mpp=self.mpp, tissue=self.tissue, num_classes=num_classes,
            nuclei_per_class=counts.tolist(), class_of_id=class_of_id,
            label_map=self.label_map, reduce_zero_label=self.reduce_zero_label,
            seg_fields=[]) | keys
