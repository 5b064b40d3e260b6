# Copyright (c) CellVTA-MMSeg contributors.
from .generate_hover_targets import GenerateHoverTargets
from .geometric import CellRandomAffine, CellRandomRotate90, CellRandomSizedCrop
from .hv_target import hv_target
from .load_cell_annotations import LoadCellAnnotations
from .load_cell_image import LoadCellImage
from .pack_cell_inputs import PackCellInputs
from .photometric import (
    CellBlur,
    CellColorJitter,
    CellGaussNoise,
    CellSuperpixels,
    CellZoomBlur,
)
from .random_tile import RandomTile
from .resize_to_mpp import ResizeToMpp
from .stain_jitter import CellStainJitter

__all__ = [
    'CellBlur', 'CellColorJitter', 'CellGaussNoise', 'CellRandomAffine',
    'CellRandomRotate90', 'CellRandomSizedCrop', 'CellStainJitter',
    'CellSuperpixels', 'CellZoomBlur', 'GenerateHoverTargets', 'LoadCellAnnotations',
    'LoadCellImage', 'PackCellInputs', 'RandomTile', 'ResizeToMpp', 'hv_target'
]
