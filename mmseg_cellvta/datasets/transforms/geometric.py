# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from skimage.measure import label

from ...utils.tiling import tile_starts


@TRANSFORMS.register_module()
class ResizeToMpp(BaseTransform):
    """Scale the picture so that a pixel measures a given number of µm.

    The same line serves pictures of any scanner. The picture is interpolated linearly,
    label maps that are already loaded take the nearest pixel. MMCV's `Resize` moves
    label maps against the picture: by 0.8 px where a crop of 410 px becomes 256.

    Required Keys:

    - img
    - mpp (unless `source_mpp` is given)
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - scale_factor
    - the maps in seg_fields

    Args:
        mpp (float): Size of a pixel after scaling, µm; 0.25 is 40x.
        source_mpp (float, optional): Size of a pixel, µm, of pictures that do not say
            it, such as those given to ``mmseg.apis.inference_model``.

    Raises:
        ValueError: If a size is not above 0, or that of the picture is not known.
    """

    def __init__(self, mpp: float, source_mpp: float | None = None) -> None:
        for name, value in dict(mpp=mpp, source_mpp=source_mpp).items():
            if value is not None and not value > 0:
                raise ValueError(f'{name}={value}: expected µm/px above 0')
        self.mpp = mpp
        self.source_mpp = source_mpp

    def transform(self, results: dict) -> dict:
        """Scale picture and label maps."""
        source_mpp = results.get('mpp') or self.source_mpp
        if source_mpp is None:
            raise ValueError(
                f'{results.get("img_path", "the picture")}: the size of its pixels is '
                'not known; set source_mpp (µm/px) in ResizeToMpp')
        height, width = results['img'].shape[:2]
        scale = source_mpp / self.mpp
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        results['img'] = cv2.resize(
            results['img'], size, interpolation=cv2.INTER_LINEAR)
        for key in results.get('seg_fields', []):
            results[key] = _resize_labels(results[key], size)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (size[0] / width, size[1] / height)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(mpp={self.mpp}, source_mpp={self.source_mpp})'


def _resize_labels(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest pixel centre, as the picture's: OpenCV's other mode takes corners."""
    return cv2.resize(label_map, size, interpolation=cv2.INTER_NEAREST_EXACT)


@TRANSFORMS.register_module()
class RandomTile(BaseTransform):
    """Cut one of the tiles that cover a picture, each equally often.

    With a size of 256 and a stride of 224 px the four tiles of an enlarged CoNIC patch,
    480 px wide, on which the released CellVTA was trained.

    Required Keys:

    - img
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - the maps in seg_fields

    Args:
        size (int): Side of a tile, px.
        stride (int): Distance of two tiles, px; the last one ends at the border.
    """

    def __init__(self, size: int, stride: int) -> None:
        tile_starts(size, size, stride)  # complain before training starts
        self.size = size
        self.stride = stride

    def transform(self, results: dict) -> dict:
        """Cut picture and label maps alike."""
        top, left = (
            int(np.random.choice(tile_starts(length, self.size, self.stride)))
            for length in results['img'].shape[:2])
        for key in ('img', *results.get('seg_fields', [])):
            results[key] = results[key][top:top + self.size, left:left + self.size]
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, stride={self.stride})'


class RandomTransform(BaseTransform):
    """Base of the augmentations: what they all are told, and how they print.

    Args:
        prob (float): Probability of changing an image, in [0, 1].

    Raises:
        ValueError: If `prob` is outside [0, 1].
    """

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'{type(self).__name__}: prob={prob}; expected 0 to 1')
        self.prob = prob

    def __repr__(self) -> str:
        settings = ', '.join(f'{key}={value}' for key, value in vars(self).items())
        return f'{type(self).__name__}({settings})'


class RandomGeometric(RandomTransform):
    """Base of transforms that move the pixels of the image and of all its maps alike.

    Flips and crops are mmseg's ``RandomFlip`` and ``RandomCrop``, which treat both
    label maps correctly. Its ``RandomRotFlip`` interpolates labels. Random numbers come
    from numpy's global generator, which MMEngine seeds in every worker.

    Required Keys:

    - img
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - the maps in seg_fields

    Args:
        prob (float): Probability of moving an image, in [0, 1].
    """

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        """Draw one motion: a function for the image and one for label maps."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Move the image and its label maps alike, or neither."""
        if np.random.rand() >= self.prob:
            return results
        move_image, move_labels = self.draw(*results['img'].shape[:2])
        results['img'] = move_image(results['img'])
        results['img_shape'] = results['img'].shape[:2]
        for key in results.get('seg_fields', []):
            results[key] = move_labels(results[key])
        return results


@TRANSFORMS.register_module()
class CellRandomRotate90(RandomGeometric):
    """Rotate by 0, 90, 180 or 270 degrees, each equally often."""

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        turns = np.random.randint(4)

        def rotate(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(np.rot90(array, turns))

        return rotate, rotate


@TRANSFORMS.register_module()
class CellRandomSizedCrop(RandomGeometric):
    """Enlarge a random square part to the full image size.

    Args:
        prob (float): Probability of moving an image, in [0, 1].
        min_fraction (float): Least side of the part, as a fraction of the shorter
            image side. Defaults to 0.5.
    """

    def __init__(self, prob: float, min_fraction: float = 0.5) -> None:
        super().__init__(prob)
        if not 0 < min_fraction <= 1:
            raise ValueError(f'min_fraction={min_fraction}: expected above 0, up to 1')
        self.min_fraction = min_fraction

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        longest = min(height, width)
        side = np.random.randint(max(1, round(self.min_fraction * longest)),
                                 longest + 1)
        top = np.random.randint(height - side + 1)
        left = np.random.randint(width - side + 1)

        def crop_with(interpolation: int) -> Callable:

            def crop(array: np.ndarray) -> np.ndarray:
                part = array[top:top + side, left:left + side]
                return cv2.resize(part, (width, height), interpolation=interpolation)

            return crop

        # OpenCV's other nearest mode takes corners of pixels, not centres.
        return crop_with(cv2.INTER_LINEAR), crop_with(cv2.INTER_NEAREST_EXACT)


@TRANSFORMS.register_module()
class CellRandomAffine(RandomGeometric):
    """Random affine motion: three anchor points shift independently.

    What the paper's elastic transform comes to: at its setting (sigma 25, alpha 0.5)
    the elastic part stays below a pixel. Pixels from beyond the border are mirrored;
    mirrored copies of a nucleus become nuclei of their own, so that their distance maps
    are right.

    Args:
        prob (float): Probability of moving an image, in [0, 1].
        max_shift (float): Greatest shift of an anchor along x and along y, in px.
            Defaults to 15.
    """

    def __init__(self, prob: float, max_shift: float = 15.0) -> None:
        super().__init__(prob)
        self.max_shift = max_shift

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        reach = min(height, width) // 3
        anchors = np.float32([width / 2, height / 2]) + reach * np.float32(
            [[1, 1], [1, -1], [-1, -1]])
        shifts = np.random.uniform(-self.max_shift, self.max_shift, (3, 2))
        matrix = cv2.getAffineTransform(anchors, anchors + shifts.astype(np.float32))

        def warp(array: np.ndarray, interpolation: int) -> np.ndarray:
            return cv2.warpAffine(array, matrix, (width, height), flags=interpolation,
                                  borderMode=cv2.BORDER_REFLECT_101)

        def warp_labels(array: np.ndarray) -> np.ndarray:
            # OpenCV takes other pixels of 8-bit maps than of 32-bit ones where two are
            # equally near; the maps must agree.
            warped = warp(array.astype(np.int32), cv2.INTER_NEAREST)
            # Only the instance map is int32; classes keep their ids.
            if array.dtype == np.int32:
                return split_copies(warped)
            return warped.astype(array.dtype)

        return lambda img: warp(img, cv2.INTER_LINEAR), warp_labels


def split_copies(inst_map: np.ndarray) -> np.ndarray:
    """Give each connected region of an instance map, int32 (H, W), an id of its own."""
    return label(inst_map, background=0, connectivity=2).astype(np.int32)
