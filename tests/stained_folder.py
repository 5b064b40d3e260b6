# Copyright (c) CellVTA-MMSeg contributors.
"""A small folder of stained images with right labels, shared by tests of tools."""
from pathlib import Path

import cv2
import numpy as np

from mmseg_cellvta.datasets.labels import IMAGE_DIR, LABEL_DIR, write_info

CLASSES = ('background', 'round', 'long')
PALETTE = ((0, 0, 0), (255, 30, 30), (0, 110, 255))
NAMES = dict(train=('a_1', 'a_2', 'a_3'), val=('b_1', 'b_2'), test=('c_1', 'c_2'))
SIDE = 64
CONFIG = """
custom_imports = dict(imports=['mmseg_cellvta'], allow_failed_imports=False)
pipeline = [
    dict(type='LoadCellImage'), dict(type='LoadCellAnnotations'),
    dict(type='RandomFlip', prob=1.0, direction='horizontal'),
    dict(type='GenerateHoverTargets'), dict(type='PackCellInputs')]
test_pipeline = [
    dict(type='LoadCellImage'), dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='LoadCellAnnotations'), dict(type='PackCellInputs')]
train_dataloader = dict(dataset=dict(
    type='RepeatDataset', times=4, dataset=dict(
        type='CellFolderDataset', data_root={root!r}, ann_file='train.txt',
        pipeline=pipeline)))
val_dataloader = dict(dataset=dict(
    type='ConcatDataset', datasets=[dict(
        type='CellFolderDataset', data_root={root!r}, ann_file='val.txt',
        test_mode=True, pipeline=test_pipeline)]))
test_dataloader = dict(dataset=dict(
    type='CellFolderDataset', data_root={root!r}, ann_file='test.txt',
    test_mode=True, pipeline=test_pipeline))
"""


def draw_labels(shift: int = 0) -> np.ndarray:
    """Labels, int32 (64, 64, 2): six nuclei, ids 3, 6 to 18, with one class each."""
    labels = np.zeros((SIDE, SIDE, 2), np.int32)
    for number in range(6):
        row, col = 8 + 26 * (number // 3), 6 + 18 * (number % 3) + shift
        labels[row:row + 12, col:col + 8] = 3 * number + 3, 1 + number % 2
    return labels


def stain(labels: np.ndarray, seed: int) -> np.ndarray:
    """RGB image, uint8 (H, W, 3), whose nuclei are dark."""
    rng = np.random.default_rng(seed)
    image = np.where(labels[..., :1] > 0, (90, 60, 140), (230, 190, 220))
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def write_image(root: Path, name: str, image: np.ndarray) -> None:
    cv2.imwrite(str(root / IMAGE_DIR / f'{name}.png'), image[..., ::-1])


def write_folder(root: Path) -> Path:
    """Writes a data set of three parts; returns its config, which lies beside it."""
    for folder in (IMAGE_DIR, LABEL_DIR):
        (root / folder).mkdir(parents=True)
    for part, names in NAMES.items():
        (root / f'{part}.txt').write_text('\n'.join(names) + '\n')
        for index, name in enumerate(names):
            labels = draw_labels(shift=index)
            np.save(root / LABEL_DIR / f'{name}.npy', labels)
            write_image(root, name, stain(labels, seed=ord(name[0]) + index))
    write_info(root, CLASSES, PALETTE, 0.5)
    config = root.with_name(f'{root.name}_config.py')
    config.write_text(CONFIG.format(root=str(root)))
    return config
