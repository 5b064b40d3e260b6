# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys
from importlib import metadata

IMPORT_EVERYTHING = """
import importlib, pkgutil
import mmseg_cellvta
for module in pkgutil.walk_packages(mmseg_cellvta.__path__, 'mmseg_cellvta.'):
    importlib.import_module(module.name)
"""


def test_everything_imports_without_a_display():
    env = {key: value for key, value in os.environ.items() if key != 'DISPLAY'}
    env['PYTHONPATH'] = os.pathsep.join(sys.path)
    command = [sys.executable, '-W', 'ignore', '-c', IMPORT_EVERYTHING]
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_opencv_is_only_there_in_its_headless_build():
    installed = {dist.metadata['Name'] for dist in metadata.distributions()}
    assert 'opencv-python-headless' in installed
    assert 'opencv-python' not in installed
