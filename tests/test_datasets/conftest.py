# Copyright (c) CellVTA-MMSeg contributors.
import csv
import json

import cv2
import numpy as np
import pytest
from scipy.io import savemat

NAMES = [f'{source}-{i:04d}' for source in ('a_1', 'a_2', 'b_1', 'b_2')
         for i in range(2)]


@pytest.fixture
def conic_dir(tmp_path):
    """Eight 32 x 32 px patches of four source images in CoNIC's own format."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    labels = np.zeros((8, 32, 32, 2), np.uint16)
    labels[:, 2:8, 4:12] = 1, 2
    labels[:, 20:30, 4:12] = 300, 6
    np.save(tmp_path / 'images.npy', images)
    np.save(tmp_path / 'labels.npy', labels)
    write_names(tmp_path, NAMES)
    content = dict(n_patches=2, sources=dict(b_1=2))
    (tmp_path / 'sources.json').write_text(json.dumps(content))
    return tmp_path


def write_names(folder, names):
    with open(folder / 'patch_info.csv', 'w', newline='') as file:
        csv.writer(file).writerows([['patch_info'], *([name] for name in names)])


@pytest.fixture
def make_consep(tmp_path):
    """Writes images of 40 x 60 px with one 8 x 8 px nucleus per given class."""

    def make(classes, folder='consep', names=('train_1', 'train_2', 'train_10')):
        root = tmp_path / folder
        for kind in ('Images', 'Labels'):
            (root / kind).mkdir(parents=True, exist_ok=True)
        inst_map, type_map = np.zeros((2, 40, 60))
        for i, class_id in enumerate(classes):
            inst_map[5:13, 8 * i:8 * i + 8] = 1000 + i
            type_map[5:13, 8 * i:8 * i + 8] = class_id
        for name in names:
            cv2.imwrite(str(root / f'Images/{name}.png'),
                        np.full((40, 60, 3), (10, 20, 30), np.uint8))
            savemat(root / f'Labels/{name}.mat',
                    dict(inst_map=inst_map, type_map=type_map))
        return root

    return make
