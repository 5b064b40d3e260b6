# Copyright (c) CellVTA-MMSeg contributors.
import pytest
from rule_segmentor import write_model

from mmseg_cellvta.inference import CellInferencer


@pytest.fixture(scope='session')
def rule_model(tmp_path_factory):
    """Paths of a config and a checkpoint."""
    return write_model(tmp_path_factory.mktemp('model'))


@pytest.fixture
def inferencer(rule_model):
    return CellInferencer(*rule_model, device='cpu', batch_size=4)
