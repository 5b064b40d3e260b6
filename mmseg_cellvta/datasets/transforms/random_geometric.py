# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable

import numpy as np

from .random_transform import RandomTransform


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
