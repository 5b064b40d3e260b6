# Copyright (c) CellVTA-MMSeg contributors.
"""A user's own images and labels, made on the spot, shared by tests."""
import json
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

SHAPE = (40, 60)  # (height, width) px
NUCLEI = {3: (slice(5, 13), slice(0, 8), 1), 900: (slice(5, 13), slice(8, 16), 2),
          7: (slice(30, 40), slice(50, 60), 2)}  # id: rows, columns, class


def label_maps(shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Returns instance map and class map of three nuclei, two of which touch."""
    inst_map, class_map = np.zeros(shape, np.uint16), np.zeros(shape, np.uint8)
    for number, (rows, cols, class_id) in NUCLEI.items():
        inst_map[rows, cols], class_map[rows, cols] = number, class_id
    return inst_map, class_map


def write_image(path: Path, shape: tuple[int, int] = SHAPE) -> None:
    """Writes an image: red 200, green 120, blue 10 to 250 from left to right."""
    image = np.full((*shape, 3), (0, 120, 200), np.uint8)
    image[..., 0] = np.linspace(10, 250, shape[1]).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_labels(path: Path, shape: tuple[int, int] = SHAPE) -> None:
    """Writes the nuclei in the format that the suffix names."""
    inst_map, class_map = label_maps(shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.npy':
        np.save(path, np.stack([inst_map, class_map], axis=-1))
    elif path.suffix == '.mat':
        savemat(path, dict(inst_map=inst_map.astype(float),
                           type_map=class_map.astype(float)))
    elif path.suffix == '.geojson':
        path.write_text(json.dumps(dict(
            type='FeatureCollection', features=[square(*n) for n in NUCLEI.values()])))
    else:
        assert cv2.imwrite(str(path), inst_map)
        assert cv2.imwrite(str(path.with_stem(f'{path.stem}_class')), class_map)


def square(rows: slice, cols: slice, class_id: int) -> dict:
    """Returns the outline of a nucleus as QuPath writes it."""
    x1, x2, y1, y2 = cols.start, cols.stop, rows.start, rows.stop
    ring = [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]
    return dict(
        type='Feature', geometry=dict(type='Polygon', coordinates=[ring]),
        properties=dict(classification=dict(name=['Tumour', 'OTHER'][class_id - 1])))
