# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys

from mmseg_cellvta.utils import stacks


def run(code, *args, **env):
    return subprocess.run([sys.executable, '-c', code, *args], check=True,
                          env={**os.environ, **env}, capture_output=True, text=True)


def test_the_import_says_nothing():
    process = run('import mmseg_cellvta')
    assert process.stdout == ''
    assert 'OneDL' not in process.stderr
    assert 'MultiScaleDeformableAttention' not in process.stderr


def test_only_known_lines_are_hidden(tmp_path):
    for name in ('mmseg', 'mmseg/datasets', 'mmseg/models'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text('')
    (tmp_path / 'mmseg/models/__init__.py').write_text(
        f'import warnings\nprint("one")\nprint({stacks.NOISE!r})\nprint("two")\n'
        f'warnings.warn({stacks.ATTENTION_WARNING!r})\nwarnings.warn("another")\n')
    process = run('import runpy, sys; runpy.run_path(sys.argv[1])["import_mmseg"]()',
                  stacks.__file__, PYTHONPATH=str(tmp_path))
    assert process.stdout == 'one\ntwo\n'
    assert 'UserWarning: another' in process.stderr
    assert stacks.ATTENTION_WARNING not in process.stderr
