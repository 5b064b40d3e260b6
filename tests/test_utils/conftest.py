# Copyright (c) CellVTA-MMSeg contributors.
from model_folders import frozen_model, hub, published, tiny_encoder  # noqa: F401
