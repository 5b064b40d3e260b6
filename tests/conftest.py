# Copyright (c) CellVTA-MMSeg contributors.
import random
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from rule_segmentor import write_model

import mmseg_cellvta  # noqa: F401  registers everything

matplotlib.use('Agg')
SHARED = Path(__file__).resolve().parents[2] / 'shared'


def pytest_runtest_setup(item):
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a GPU with CUDA')


@pytest.fixture(autouse=True)
def seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def scope():
    """Lets tests name classes as configs do."""
    init_default_scope('mmseg')


@pytest.fixture
def shared_dir():
    """Folder of real images and reference numbers that lies beside the repository."""
    if not SHARED.is_dir():
        pytest.skip('no folder ../shared with real images and reference numbers')
    return SHARED


@pytest.fixture(scope='session')
def rule_model(tmp_path_factory):
    """Paths of a config and a checkpoint; see `rule_segmentor`."""
    return write_model(tmp_path_factory.mktemp('model'))
