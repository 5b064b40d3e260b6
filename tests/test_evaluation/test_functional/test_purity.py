# Copyright (c) CellVTA-MMSeg contributors.
import ast
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / 'mmseg_cellvta/evaluation/functional'
MODULES = sorted(FOLDER.glob('*.py'))
ALLOWED = {'numpy', 'scipy'} | sys.stdlib_module_names

IMPORT_ALONE = """
import importlib.util, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.split('.')[0]
        if top == 'torch' or top.startswith('mm'):
            raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Blocked())
spec = importlib.util.spec_from_file_location(
    'functional', sys.argv[1] + '/__init__.py',
    submodule_search_locations=[sys.argv[1]])
module = sys.modules['functional'] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import numpy as np
print(module.panoptic_quality(np.eye(2, dtype=int), np.eye(2, dtype=int)).tp)
"""


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.name)
def test_modules_import_only_numpy_scipy_and_each_other(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, f'{path.name} imports from outside its folder'
            names = [] if node.level else [node.module]
        else:
            continue
        assert {name.split('.')[0] for name in names} <= ALLOWED


def test_the_functions_run_where_torch_and_openmmlab_are_missing():
    assert len(MODULES) > 1
    result = subprocess.run([sys.executable, '-c', IMPORT_ALONE, str(FOLDER)],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == '1'
