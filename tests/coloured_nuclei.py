# Copyright (c) CellVTA-MMSeg contributors.
"""Images of square nuclei whose colour is their class, and a network for them."""
import cv2
import numpy as np
import torch
from tiny_models import DIMS, HEAD, SEGMENTOR
from torch.nn import functional as F

from mmseg_cellvta.datasets.labels import write_info

CLASSES = ('background', 'blue', 'green')
COLOURS = {1: (255, 0, 0), 2: (0, 255, 0)}  # BGR
# Ids 5 and up; each nucleus lies within a token of 16 x 16 px.
NUCLEI = {(0, 0): 1, (1, 0): 2, (2, 2): 1, (3, 1): 1}  # (column, row): class
MODEL = dict(
    SEGMENTOR,
    type='ReclassifyingSegmentor',
    decode_head=dict(HEAD, num_classes=2),
    post_processor=dict(type='HoverPostProcessor', mpp=0.5, markers='rising'),
    cell_classifier=dict(
        type='CellClassifier', num_classes=len(CLASSES), hidden_channels=16))


def write_images(folder, names):
    """Writes images of 48 x 64 px and their labels as a `CellFolderDataset`."""
    for part in ('Images', 'Labels'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = np.zeros((48, 64, 3), np.uint8)
    labels = np.zeros((48, 64, 2), np.int32)
    for number, ((column, row), kind) in enumerate(NUCLEI.items(), start=5):
        window = (slice(16 * row + 3, 16 * row + 13),
                  slice(16 * column + 3, 16 * column + 13))
        image[window] = COLOURS[kind]
        labels[window] = number, kind
    for name in names:
        cv2.imwrite(str(folder / 'Images' / f'{name}.png'), image)
        np.save(folder / 'Labels' / f'{name}.npy', labels)
    write_info(folder, CLASSES, [[0, 0, 0], [0, 0, 255], [0, 255, 0]], mpp=0.5)


def see_colours(self, inputs, metas):
    """Takes the place of the network: what is not black is a nucleus.

    A token is the mean colour of its pixels.
    """
    nuclei = (inputs > 0).any(dim=1, keepdim=True).float()
    np_map = torch.cat([1 - nuclei, nuclei], dim=1)
    tokens = F.avg_pool2d(inputs, 16)
    channels = DIMS - tokens.shape[1]
    return (torch.cat([np_map, torch.zeros_like(np_map), np_map], dim=1),
            F.pad(tokens, (0, 0, 0, 0, 0, channels)))
