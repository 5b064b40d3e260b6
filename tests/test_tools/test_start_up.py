# Copyright (c) CellVTA-MMSeg contributors.
"""Every tool answers before it imports what takes seconds."""
import subprocess
import sys
from pathlib import Path

import pytest
from run_tool import TOOLS

from mmseg_cellvta.exports import FORMATS

SCRIPTS = sorted(path for path in TOOLS.rglob('*.py') if 'main()' in path.read_text())
HEAVY = ('torch', 'mmengine', 'mmcv', 'mmseg', 'timm', 'cv2', 'scipy', 'skimage',
         'mmseg_cellvta')
# Runs a tool as `python tool ...` does, and says which of these it has imported.
RUN = f"""
import atexit, runpy, sys
heavy = {HEAVY}
atexit.register(lambda: print('HEAVY', *(h for h in heavy if h in sys.modules)))
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition('/')[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def run(script, *args):
    result = subprocess.run([sys.executable, '-c', RUN, str(script), *args],
                            capture_output=True, text=True)
    said, _, heavy = result.stdout.rpartition('HEAVY')
    return result.returncode, said, result.stderr, heavy.split()


def name_of(path):
    return str(path.relative_to(TOOLS))


@pytest.mark.parametrize('script', SCRIPTS, ids=name_of)
def test_help_and_a_wrong_argument_answer_at_once(script):
    code, said, errors, heavy = run(script, '--help')
    assert (code, errors, heavy) == (0, '', []) and said.startswith('usage: ')
    code, said, errors, heavy = run(script, '--no-such-option')
    assert (code, said, heavy) == (2, '', []) and errors.startswith('usage: ')


@pytest.mark.parametrize('args', [
    ('train.py', 'gone.py'), ('test.py', 'gone.py', 'gone.pth'),
    ('infer.py', 'gone.py', 'gone.pth', 'a.svs', '--out', 'cells')],
    ids=lambda args: args[0])
def test_a_missing_config_is_said_at_once(args):
    code, said, errors, heavy = run(TOOLS / args[0], *args[1:])
    assert (code, said, heavy) == (1, '', [])
    assert errors.startswith('config gone.py: no such file')


def test_there_are_tools():
    assert len(SCRIPTS) >= 19 and Path(SCRIPTS[0]).is_file()


def test_infer_offers_every_format():
    code, said, errors, _ = run(TOOLS / 'infer.py', '--help')
    assert f'of {", ".join(FORMATS)}' in ' '.join(said.split())
