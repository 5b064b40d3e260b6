# Copyright (c) CellVTA-MMSeg contributors.
import pytest

from mmseg_cellvta.inference import CellInferencer


@pytest.fixture
def inferencer(rule_model):
    return CellInferencer(*rule_model, device='cpu', batch_size=4, num_workers=0)
