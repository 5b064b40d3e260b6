# Copyright (c) CellVTA-MMSeg contributors.
from .publish import publish_converted, publish_model, push_model

__all__ = ['publish_converted', 'publish_model', 'push_model']
