# Copyright (c) CellVTA-MMSeg contributors.
import csv
import json
import os.path as osp
import zlib
from collections import Counter

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .label_io import check_labels, open_npy

# Source images of the test split that the CellVTA paper's CoNIC results are on.
PAPER_TEST_SOURCES = osp.join(osp.dirname(__file__), 'conic_test_sources.json')


@DATASETS.register_module()
class CoNICDataset(BaseSegDataset):
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
                 val_share: float = 0.0, mpp: float = 0.5, tissue: str = 'Colon',
                 **kwargs) -> None:
        if split not in (None, 'train', 'val', 'test'):
            raise ValueError(
                f"split={split!r}: expected 'train', 'val', 'test' or None")
        if not 0 <= val_share < 1:
            raise ValueError(f'val_share={val_share}: expected a fraction in [0, 1)')
        self.split = split
        self.sources_file = sources_file or PAPER_TEST_SOURCES
        self.val_share = val_share
        self.mpp = mpp
        self.tissue = tissue
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Check the files and list the patches of the split."""
        root = self.data_root or '.'
        img_path = osp.join(root, 'images.npy')
        label_path = osp.join(root, 'labels.npy')
        check_arrays(img_path, label_path)
        names = read_patch_names(osp.join(root, 'patch_info.csv'))
        if len(names) != len(open_npy(img_path)):
            raise ValueError(f'{root}: patch_info.csv names {len(names)} patches, '
                             f'images.npy holds {len(open_npy(img_path))} images')
        num_classes = len(self.metainfo['classes'])
        labels = open_npy(label_path)
        data_list = []
        for index in self._select(names):
            check_labels(labels[index, ..., 0], labels[index, ..., 1], num_classes,
                         f'{label_path}[{index}] ({names[index]})')
            data_list.append(
                dict(img_path=img_path, img_index=index, label_path=label_path,
                     label_index=index, sample_name=names[index], mpp=self.mpp,
                     tissue=self.tissue, num_classes=num_classes,
                     label_map=self.label_map,
                     reduce_zero_label=self.reduce_zero_label, seg_fields=[]))
        return data_list

    def _select(self, names: list[str]) -> list[int]:
        """Indices of the patches that belong to the split."""
        if self.split is None:
            return list(range(len(names)))
        path = osp.join(self.data_root or '.', self.sources_file)
        test_sources = read_test_sources(path)
        sources = [name.rsplit('-', 1)[0] for name in names]
        # Ordered by a hash: arbitrary, yet the same on every machine.
        others = sorted(set(sources) - test_sources,
                        key=lambda source: (zlib.crc32(source.encode()), source))
        num_val = round(self.val_share * len(others))
        wanted = dict(test=test_sources, val=set(others[:num_val]),
                      train=set(others[num_val:]))[self.split]
        indices = [i for i, source in enumerate(sources) if source in wanted]
        if not indices:
            raise ValueError(
                f'{self.data_root}: no patch for split={self.split!r} among '
                f'{len(names)} patches of {len(set(sources))} source images '
                f'(sources_file={path}, val_share={self.val_share})')
        return indices


def check_arrays(img_path: str, label_path: str) -> None:
    """Raise ValueError unless both arrays have CoNIC's dtypes and agreeing shapes."""
    images, labels = open_npy(img_path), open_npy(label_path)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(f'{img_path}: {images.dtype} {images.shape}; expected '
                         'uint8 (N, H, W, 3), RGB')
    if len(images) == 0:
        raise ValueError(f'{img_path}: holds no image')
    if labels.dtype.kind not in 'iu':
        raise ValueError(f'{label_path}: dtype {labels.dtype}; expected uint16')
    if labels.shape != (*images.shape[:3], 2):
        raise ValueError(
            f'{label_path}: shape {labels.shape} does not match images.npy: '
            f'{len(images)} images, expected {(*images.shape[:3], 2)}')


def read_patch_names(path: str) -> list[str]:
    """Read the patch names from ``patch_info.csv``; they must be unique."""
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path}: no such file; expected a csv file with one '
                                'column patch_info that names every patch')
    with open(path, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    if not rows or 'patch_info' not in rows[0]:
        raise ValueError(f'{path}: no column patch_info with names below it')
    names = [row['patch_info'] for row in rows]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f'{path}: {len(repeated)} names stand there more than once, '
                         f'the first is {repeated[0]!r}; names must be unique')
    return names


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
