# Copyright (c) CellVTA-MMSeg contributors.
"""Transforms that move the pixels of an image and of all its label maps alike.

Flips and crops are mmseg's `RandomFlip` and `RandomCrop`, which treat both label maps
correctly. Its `RandomRotFlip` interpolates labels, and MMCV's `Resize` moves them
against the image: by 0.8 px where a crop of 410 px becomes 256. Random numbers come
from numpy's global generator, which MMEngine seeds in every worker.
"""
from collections.abc import Callable

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from skimage.measure import label

from ...configuration.network_scale import SCALED_TO, announced_network_mpp
from ...utils.pixel_size import mpp_problem
from ...utils.tiling import tile_starts

Motion = Callable[[np.ndarray, str], np.ndarray]  # of an array and its key, as 'img'


def move_alike(results: dict, move: Motion) -> dict:
    """Moves the image and its label maps; returns the same `results`."""
    for key in ('img', *results.get('seg_fields', [])):
        results[key] = move(results[key], key)
    results['img_shape'] = results['img'].shape[:2]
    return results


def resize(array: np.ndarray, key: str, size: tuple[int, int]) -> np.ndarray:
    """Scales an image linearly, a label map by nearest pixels, to (width, height)."""
    # OpenCV's other nearest mode takes corners of pixels, not centres.
    interpolation = cv2.INTER_LINEAR if key == 'img' else cv2.INTER_NEAREST_EXACT
    return cv2.resize(array, size, interpolation=interpolation)


@TRANSFORMS.register_module()
class ResizeToMpp(BaseTransform):
    """Scales the image to the network's µm/px, whatever its scanner.

    The network's µm/px is `model.mpp` of the config, see `network_scale`. The image is
    interpolated linearly; label maps that are already loaded take the nearest pixel. An
    image that has this scale is left as it is.

    Required Keys:

    - img
    - mpp (unless `source_mpp` is given)
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - scale_factor
    - the maps in seg_fields

    Added Keys:

    - network_mpp

    Args:
        mpp: Size of a pixel after scaling, µm, where it is not that of the model that
            was built before the pipeline.
        source_mpp: Size of a pixel, µm, of images that do not say it, such as those
            given to `mmseg.apis.inference_model`.

    Raises:
        ValueError: When a size is not above 0, or is not known when an image comes.
    """

    def __init__(self, mpp: float | None = None,
                 source_mpp: float | None = None) -> None:
        for name, value in dict(mpp=mpp, source_mpp=source_mpp).items():
            if value is not None and (problem := mpp_problem(value)):
                raise ValueError(f'{name}={value}: {problem}')
        self.mpp = mpp or announced_network_mpp()
        self.source_mpp = source_mpp

    def transform(self, results: dict) -> dict:
        """Scales image and label maps."""
        if self.mpp is None:
            raise ValueError(
                "ResizeToMpp: the network's µm/px is not known; build the model, a "
                'CellSegmentor, before the data, or give mpp')
        source_mpp = results.get('mpp') or self.source_mpp
        if source_mpp is None:
            raise ValueError(
                f'{results.get("img_path", "the image")}: the size of its pixels is '
                'not known; set source_mpp (µm/px) in ResizeToMpp')
        height, width = results['img'].shape[:2]
        scale = source_mpp / self.mpp
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        if size != (width, height):
            move_alike(results, lambda array, key: resize(array, key, size))
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results[SCALED_TO] = self.mpp
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(mpp={self.mpp}, source_mpp={self.source_mpp})'


@TRANSFORMS.register_module()
class RandomTile(BaseTransform):
    """Cuts one of the tiles that cover an image, each equally often.

    With a size of 256 and a stride of 224 px these are the four tiles of an enlarged
    CoNIC patch, 480 px wide, on which the released CellVTA was trained.

    Required Keys:

    - img
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - the maps in seg_fields

    Args:
        size: Side of a tile, px.
        stride: Distance of two tiles, px; the last one ends at the border.
    """

    def __init__(self, size: int, stride: int) -> None:
        tile_starts(size, size, stride)  # complain before training starts
        self.size = size
        self.stride = stride

    def transform(self, results: dict) -> dict:
        """Cuts image and label maps alike."""
        top, left = (
            int(np.random.choice(tile_starts(length, self.size, self.stride)))
            for length in results['img'].shape[:2])
        window = slice(top, top + self.size), slice(left, left + self.size)
        return move_alike(results, lambda array, key: array[window])

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, stride={self.stride})'


class RandomTransform(BaseTransform):
    """Base of the augmentations: what they all are told, and how they print.

    Args:
        prob: Probability of changing an image, in [0, 1].

    Raises:
        ValueError: When `prob` is outside [0, 1].
    """

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'{type(self).__name__}: prob={prob}; expected 0 to 1')
        self.prob = prob

    def __repr__(self) -> str:
        settings = ', '.join(f'{key}={value}' for key, value in vars(self).items())
        return f'{type(self).__name__}({settings})'


class RandomGeometric(RandomTransform):
    """Base of the augmentations that move pixels.

    Required Keys:

    - img
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - the maps in seg_fields

    Args:
        prob: Probability of moving an image, in [0, 1].
    """

    def draw(self, height: int, width: int) -> Motion:
        """Draws one motion."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Moves the image and its label maps alike, or neither."""
        if np.random.rand() >= self.prob:
            return results
        return move_alike(results, self.draw(*results['img'].shape[:2]))


@TRANSFORMS.register_module()
class CellRandomRotate90(RandomGeometric):
    """Rotates by 0, 90, 180 or 270 degrees, each equally often."""

    def draw(self, height: int, width: int) -> Motion:
        turns = np.random.randint(4)
        return lambda array, key: np.ascontiguousarray(np.rot90(array, turns))


@TRANSFORMS.register_module()
class CellRandomSizedCrop(RandomGeometric):
    """Enlarges a random square part to the full image size.

    Args:
        prob: Probability of moving an image, in [0, 1].
        min_fraction: Least side of the part, as a fraction of the shorter image side.

    Raises:
        ValueError: When `min_fraction` is not above 0 or is above 1.
    """

    def __init__(self, prob: float, min_fraction: float = 0.5) -> None:
        super().__init__(prob)
        if not 0 < min_fraction <= 1:
            raise ValueError(f'min_fraction={min_fraction}: expected above 0, up to 1')
        self.min_fraction = min_fraction

    def draw(self, height: int, width: int) -> Motion:
        longest = min(height, width)
        side = np.random.randint(max(1, round(self.min_fraction * longest)),
                                 longest + 1)
        top = np.random.randint(height - side + 1)
        left = np.random.randint(width - side + 1)

        window = slice(top, top + side), slice(left, left + side)
        return lambda array, key: resize(array[window], key, (width, height))


@TRANSFORMS.register_module()
class CellRandomAffine(RandomGeometric):
    """Random affine motion: three anchor points shift independently.

    This is what the paper's elastic transform comes to: at its setting (sigma 25, alpha
    0.5) the elastic part stays below a pixel. Pixels from beyond the border are
    mirrored; mirrored copies of a nucleus become nuclei of their own, so that their
    distance maps are right.

    Args:
        prob: Probability of moving an image, in [0, 1].
        max_shift: Greatest shift of an anchor along x and along y, px.
    """

    def __init__(self, prob: float, max_shift: float = 15.0) -> None:
        super().__init__(prob)
        self.max_shift = max_shift

    def draw(self, height: int, width: int) -> Motion:
        reach = min(height, width) // 3
        anchors = np.float32([width / 2, height / 2]) + reach * np.float32(
            [[1, 1], [1, -1], [-1, -1]])
        shifts = np.random.uniform(-self.max_shift, self.max_shift, (3, 2))
        matrix = cv2.getAffineTransform(anchors, anchors + shifts.astype(np.float32))

        def warp(array: np.ndarray, interpolation: int) -> np.ndarray:
            return cv2.warpAffine(array, matrix, (width, height), flags=interpolation,
                                  borderMode=cv2.BORDER_REFLECT_101)

        def move(array: np.ndarray, key: str) -> np.ndarray:
            if key == 'img':
                return warp(array, cv2.INTER_LINEAR)
            # OpenCV takes other pixels of 8-bit maps than of 32-bit ones where two are
            # equally near; the maps must agree.
            warped = warp(array.astype(np.int32), cv2.INTER_NEAREST)
            if key == 'gt_inst_map':
                warped = label(warped, background=0, connectivity=2)
            return warped.astype(array.dtype)

        return move
