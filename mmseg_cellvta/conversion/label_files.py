# Copyright (c) CellVTA-MMSeg contributors.
"""The user's own label files of any format, read as instance map and class map."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.mat_labels import read_mat_maps, to_ids
from ..utils.files import map_npy
from ..utils.images import read_id_image
from .label_checks import check_instances
from .polygons import check_regions, rasterize, read_geojson, read_imagescope
from .writers import LabelledImage

POLYGON_READERS = {
    '.geojson': read_geojson, '.json': read_geojson, '.xml': read_imagescope}
ID_IMAGES = ('.png', '.tif', '.tiff')
CLASS_MAP_SUFFIXES = ('.npy', *ID_IMAGES)
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
                where there are several; or when what it shows are no nuclei (see
                `check_instances`).
        """
        path = image.label_path
        if path.stat().st_size == 0:
            raise ValueError(f'{path}: empty, 0 bytes; for an image without nuclei '
                             'write a map of zeros or a list without outlines')
        if path.suffix.lower() in POLYGON_READERS:
            inst_map, class_map = self._draw(path, shape)
        else:
            inst_map, class_map = read_maps(path)
        if image.class_path is not None:
            if class_map is not None:
                raise ValueError(f'{image.class_path}: {path.name} holds classes '
                                 'already; remove one of them')
            class_map = _read_class_map(image.class_path)
        check_instances(inst_map, str(path))
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
        check_regions(outlines)
        nuclei = sum(outline.class_id > 0 for outline in outlines)
        lost = nuclei - np.count_nonzero(np.unique(inst_map))
        if lost:
            self.remarks.append(f'{path}: {lost} of {nuclei} outlines have no pixel; '
                                'they are tiny, or later ones cover them')
        return inst_map, class_map


def read_maps(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a file of ids.

    Args:
        path: `.npy`, (H, W) or (H, W, 2); an image with one channel; or `.mat`, see
            `mat_labels`.

    Returns:
        Instance map and class map, int64 (H, W); the latter is None if the file has
        no classes.

    Raises:
        ValueError: When the file is damaged or of another layout.
    """
    suffix = path.suffix.lower()
    if suffix == '.mat':
        return read_mat_maps(str(path))
    if suffix == '.npy':
        array = np.asarray(map_npy(str(path)))
        if array.ndim == 3 and array.shape[-1] == 2:
            return to_ids(array[..., 0], str(path)), to_ids(array[..., 1], str(path))
    else:
        array = read_id_image(path)
    return to_ids(array, str(path)), None


def _read_class_map(path: Path) -> np.ndarray:
    """Reads the classes of pixels, int64 (H, W), from a file of their own."""
    class_map, other = read_maps(path)
    if other is not None:
        raise ValueError(f'{path}: two channels; expected (H, W), class ids')
    return class_map
