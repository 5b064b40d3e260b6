# Copyright (c) CellVTA-MMSeg contributors.
import gc
import random
from pathlib import Path

import matplotlib
import mmengine.config.config
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer
from rule_segmentor import write_model
from yapf.yapflib import yapf_api

import mmseg_cellvta  # noqa: F401  registers everything
from mmseg_cellvta.visualization import CellVisualizer

matplotlib.use('Agg')
SHARED = Path(__file__).resolve().parents[2] / 'shared'


# Configs are written with every checkpoint, and laying one out takes up to a second.
for module in (yapf_api, mmengine.config.config):
    module.FormatCode = lambda text, **style: (text, False)


def pytest_collection_finish(session):
    """Keeps what is imported out of the garbage collection of every data set."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(autouse=True)
def apart():
    """Lets no test log, count or draw into the run of another.

    MMEngine finds a run's logger, counters and visualizer by the name of the config and
    the second: two tests that train a `config.py` in one second shared them.
    """
    for kind in (MMLogger, MessageHub, Visualizer, CellVisualizer):
        kind._instance_dict.clear()


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
