# Copyright (c) CellVTA-MMSeg contributors.
"""Tables of cells with known content."""
import numpy as np

from mmseg_cellvta.structures import CellTable, SlideInfo

INFO = SlideInfo(
    name='slide', shape=(700, 900), mpp=0.25,
    classes=('background', 'immune', 'tumour'),
    palette=((255, 255, 255), (20, 30, 220), (220, 30, 20)))


def squares(corners, side=10.0, embedding=0):
    """Square cells, in classes 1 and 2 by turns, with their top left corners there."""
    corners = np.array(corners, float).reshape(-1, 2)
    num = len(corners)
    ring = side * np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    labels = 1 + np.arange(num) % 2
    probs = np.zeros((num, 3), np.float32)
    probs[np.arange(num), labels] = 0.75
    probs[np.arange(num), 3 - labels] = 0.25
    return CellTable(
        centroids=corners + side / 2, labels=labels,
        scores=np.full(num, 0.75, np.float32), class_probs=probs,
        outlines=[corner + ring for corner in corners],
        features=dict(area_um2=np.full(num, side**2 / 16, np.float32)),
        embeddings=np.arange(num * embedding).reshape(num, embedding).astype(
            np.float16))


BANDS = [squares([(10, 20), (100, 20.5)]), squares([]), squares([(30, 400)])]
