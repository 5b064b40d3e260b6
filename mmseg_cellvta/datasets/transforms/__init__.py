# Copyright (c) CellVTA-MMSeg contributors.
from .geometric import (
    CellRandomAffine,
    CellRandomRotate90,
    CellRandomSizedCrop,
    RandomTile,
    ResizeToMpp,
)
from .hv_target import hv_target
from .loading import (
    GenerateHoverTargets,
    LoadCellAnnotations,
    LoadCellImage,
    PackCellInputs,
)
from .photometric import (
    CellBlur,
    CellColorJitter,
    CellGaussNoise,
    CellStainJitter,
    CellSuperpixels,
    CellZoomBlur,
)

__all__ = [
    'CellBlur', 'CellColorJitter', 'CellGaussNoise', 'CellRandomAffine',
    'CellRandomRotate90', 'CellRandomSizedCrop', 'CellStainJitter',
    'CellSuperpixels', 'CellZoomBlur', 'GenerateHoverTargets', 'LoadCellAnnotations',
    'LoadCellImage', 'PackCellInputs', 'RandomTile', 'ResizeToMpp', 'hv_target'
]
