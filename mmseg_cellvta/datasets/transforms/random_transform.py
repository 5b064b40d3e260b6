# Copyright (c) CellVTA-MMSeg contributors.
from mmcv.transforms import BaseTransform


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
