# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_cellvta.conversion.drawn_conic import write_synthetic_conic

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def conic(tmp_path_factory):
    """A small drawn data set in CoNIC's format."""
    folder = tmp_path_factory.mktemp('data') / 'conic'
    write_synthetic_conic(folder, 20, seed=0)
    return folder


@pytest.fixture(scope='session')
def call():
    """Runs a Python script in a folder; returns the finished process."""

    def run(folder, script, *arguments):
        env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        return subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            cwd=folder, env=env, capture_output=True, text=True)

    return run
