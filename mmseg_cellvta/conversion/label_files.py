# Copyright (c) CellVTA-MMSeg contributors.
"""The user's own label files of any format, read as instance map and class map."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from skimage.measure import label

from ..datasets.labels import load_mat
from ..utils.files import map_npy
from ..utils.images import read_id_image
from .polygons import rasterize, read_geojson, read_imagescope
from .writers import LabelledImage

POLYGON_READERS = {
    '.geojson': read_geojson, '.json': read_geojson, '.xml': read_imagescope}
ID_IMAGES = ('.png', '.tif', '.tiff')
CLASS_MAP_SUFFIXES = ('.npy', *ID_IMAGES)
MAX_INSTANCE_ID = (1 << 24) - 1  # tables by id stay small
LABEL_SUFFIXES = ('.npy', '.mat', *ID_IMAGES, *POLYGON_READERS)


class LabelReader:
    """Reads the label files of images.

    Args:
        classes: Class names, background first. If there is only one class, every
            nucleus is of it, whatever the file says.

    Attributes:
        remarks: What the user should know about the files read so far.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.remarks: list[str] = []

    def __call__(self, image: LabelledImage,
                 shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Reads the labels of an image.

        Args:
            image: The image and its files.
            shape: (height, width) of the image, px.

        Returns:
            Instance map and class map, integer (H, W).

        Raises:
            ValueError: When a file is damaged, of another layout, or has no classes
                where there are several.
        """
        path = image.label_path
        if path.suffix.lower() in POLYGON_READERS:
            return self._draw(path, shape)
        inst_map, class_map = read_maps(path)
        if image.class_path is not None:
            if class_map is not None:
                raise ValueError(f'{image.class_path}: {path.name} holds classes '
                                 'already; remove one of them')
            class_map, _ = read_maps(image.class_path)
        else:
            check_numbered(inst_map, path)
        if len(self.classes) == 2:
            class_map = (inst_map > 0).astype(np.uint8)
        if class_map is None:
            raise ValueError(
                f'{path}: holds no classes; add {path.stem}_class.png, a map of class '
                'ids, or convert with --classes nucleus')
        return inst_map, class_map

    def _draw(self, path: Path,
              shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        outlines = POLYGON_READERS[path.suffix.lower()](path, self.classes)
        inst_map, class_map = rasterize(outlines, shape, str(path))
        nuclei = sum(outline.class_id > 0 for outline in outlines)
        lost = nuclei - np.count_nonzero(np.unique(inst_map))
        if lost:
            self.remarks.append(f'{path}: {lost} of {nuclei} outlines have no pixel; '
                                'they are tiny, or later ones cover them')
        return inst_map, class_map


def read_maps(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a file of ids.

    Args:
        path: `.npy`, (H, W) or (H, W, 2); an image with one channel; or `.mat` with
            `inst_map` and, perhaps, `type_map`.

    Returns:
        Instance map and class map, int64 (H, W); the latter is None if the file has
        no classes.

    Raises:
        ValueError: When the file is damaged or of another layout.
    """
    suffix = path.suffix.lower()
    if suffix == '.mat':
        content = load_mat(str(path), ('inst_map', 'type_map'))
        if 'inst_map' not in content:
            raise ValueError(f'{path}: holds no inst_map')
        maps = content['inst_map'], content.get('type_map')
    elif suffix == '.npy':
        array = np.asarray(map_npy(str(path)))
        if array.ndim == 3 and array.shape[-1] == 2:
            maps = array[..., 0], array[..., 1]
        else:
            maps = array, None
    else:
        maps = read_id_image(path), None
    return tuple(None if ids is None else to_ids(ids, path) for ids in maps)


def to_ids(array: np.ndarray, path: Path) -> np.ndarray:
    """Returns whole numbers of any dtype as int64, (H, W).

    Raises:
        ValueError: When the array has another shape, other values, or too high ids.
    """
    if array.ndim != 2:
        raise ValueError(f'{path}: shape {array.shape}; expected (H, W), instance ids, '
                         'or (H, W, 2), instance ids and class ids')
    if array.dtype.kind not in 'biuf':
        raise ValueError(f'{path}: {array.dtype}; expected whole numbers')
    with np.errstate(invalid='ignore'):  # of NaN, which differs from every number
        ids = array.astype(np.int64)
    if (ids != array).any():
        row, col = np.argwhere(ids != array)[0]
        raise ValueError(f'{path}: {array[row, col]} at row {row}, column {col}; '
                         'expected whole numbers')
    if ids.max(initial=0) > MAX_INSTANCE_ID:
        raise ValueError(f'{path}: id {ids.max()}; expected at most {MAX_INSTANCE_ID}')
    return ids


def check_numbered(inst_map: np.ndarray, path: Path) -> None:
    """Refuses a mask that has one value for all nuclei instead of an id for each.

    Raises:
        ValueError: When everything has one id, but is in several pieces.
    """
    inside = inst_map > 0
    highest = inst_map.max(initial=0)
    if not highest or (inst_map[inside] != highest).any():
        return
    pieces = label(inside, connectivity=2).max()
    if pieces > 1:
        raise ValueError(
            f'{path}: one id, {highest}, in {pieces} separate pieces; expected an id '
            'for each nucleus. If nuclei do not touch, number them with '
            'skimage.measure.label')
