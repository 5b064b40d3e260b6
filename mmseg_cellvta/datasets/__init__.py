# Copyright (c) CellVTA-MMSeg contributors.
from . import samplers, transforms
from .conic_dataset import CoNICDataset
from .consep_dataset import CoNSePDataset

__all__ = ['CoNICDataset', 'CoNSePDataset', 'samplers', 'transforms']
