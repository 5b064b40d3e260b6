# Copyright (c) CellVTA-MMSeg contributors.
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parents[1] / 'openvino_cases.py'


def test_openvino_in_a_process_of_its_own():
    """Its libraries beside those of all other tests ended the process of the tests."""
    if importlib.util.find_spec('openvino') is None:
        pytest.skip('the extra "openvino" is missing')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(CASES)],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0 and ' passed' in done.stdout, done.stdout
