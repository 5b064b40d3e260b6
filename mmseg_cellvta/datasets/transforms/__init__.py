# Copyright (c) CellVTA-MMSeg contributors.
from .cell_blur import CellBlur
from .cell_gauss_noise import CellGaussNoise
from .cell_random_affine import CellRandomAffine
from .cell_random_rotate90 import CellRandomRotate90
from .cell_random_sized_crop import CellRandomSizedCrop
from .cell_stain_jitter import CellStainJitter
from .cell_superpixels import CellSuperpixels
from .cell_zoom_blur import CellZoomBlur
from .generate_hover_targets import GenerateHoverTargets
from .geometric import ResizeToMpp
from .hv_target import hv_target
from .load_cell_image import LoadCellImage
from .loading import LoadCellAnnotations
from .pack_cell_inputs import PackCellInputs
from .photometric import CellColorJitter
from .random_tile import RandomTile

__all__ = [
    'CellBlur', 'CellColorJitter', 'CellGaussNoise', 'CellRandomAffine',
    'CellRandomRotate90', 'CellRandomSizedCrop', 'CellStainJitter',
    'CellSuperpixels', 'CellZoomBlur', 'GenerateHoverTargets', 'LoadCellAnnotations',
    'LoadCellImage', 'PackCellInputs', 'RandomTile', 'ResizeToMpp', 'hv_target'
]
