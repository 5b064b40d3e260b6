# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from ..utils.configs import build_cell_dataset
from .token_cache import TokenCache


@DATASETS.register_module()
class CellTokenDataset(Dataset):
    """The detected nuclei of labelled pictures, as tokens in memory.

    A sample is ``tokens``, float32 (D,), and ``labels``, its class 1..C-1. The files
    are made by ``tools/train_cell_classifier.py``.

    Args:
        pictures (dict): Config of the data set of the pictures.
        token_dir (str, optional): Folder of a ``TokenCache``.

    Raises:
        ValueError: If there is no ``token_dir``, or not a single nucleus.
        FileNotFoundError: If the tokens of a picture are missing.
    """

    def __init__(self, pictures: dict, token_dir: str | None = None) -> None:
        if token_dir is None:
            raise ValueError('token_dir=None: a cell classifier is trained with '
                             'tools/train_cell_classifier.py, which makes the tokens')
        dataset = build_cell_dataset(pictures)
        cache = TokenCache(token_dir)
        self.metainfo = dataset.metainfo
        parts = [cache.load(dataset.get_data_info(i)) for i in range(len(dataset))]
        self.tokens, self.labels = map(np.concatenate, zip(*parts, strict=True))
        if not len(self):
            raise ValueError(
                f'{token_dir}: in {len(dataset)} pictures no detected nucleus is a '
                'labelled one; check the segmentor with tools/test.py')

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return dict(tokens=self.tokens[index], labels=self.labels[index])

    def class_weight(self) -> list[float]:
        """Weights of the classes 1..C-1, with which all count the same in a loss.

        N / (K n) for a class with n of the N nuclei, where K classes occur; 0 for one
        that does not.
        """
        counts = np.bincount(self.labels, minlength=len(self.metainfo['classes']))[1:]
        weights = len(self) / np.count_nonzero(counts) / np.maximum(counts, 1)
        return np.where(counts > 0, weights, 0).tolist()
