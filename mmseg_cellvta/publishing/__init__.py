# Copyright (c) CellVTA-MMSeg contributors.
from .model_folder import ModelFolder, open_model
from .publish import publish_model, push_model

__all__ = ['ModelFolder', 'open_model', 'publish_model', 'push_model']
