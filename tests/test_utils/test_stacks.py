# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(('cuda', 'expected'), [
    ("'12.4'", 'theirs'), ("'not available'", 'None')])
def test_mmcvs_attention_is_taken_where_it_was_built_with_cuda(
        tmp_path, cuda, expected):
    (tmp_path / 'mmcv/ops').mkdir(parents=True)
    (tmp_path / 'mmcv/__init__.py').write_text('')
    (tmp_path / 'mmcv/ops/__init__.py').write_text(
        f'def get_compiling_cuda_version(): return {cuda}\n')
    (tmp_path / 'mmcv/ops/multi_scale_deform_attn.py').write_text(
        "MultiScaleDeformableAttnFunction = 'theirs'\n")
    assert find_attention(tmp_path) == expected


@pytest.mark.parametrize('failure', [
    'import mmcv._ext', "raise ImportError('undefined symbol')",
    "assert False, 'ms_deform_attn_forward miss in module _ext'"])
def test_an_mmcv_without_operators_has_no_attention(tmp_path, failure):
    (tmp_path / 'mmcv/ops').mkdir(parents=True)
    (tmp_path / 'mmcv/__init__.py').write_text('')
    (tmp_path / 'mmcv/ops/__init__.py').write_text(failure + '\n')
    assert find_attention(tmp_path) == 'None'


def find_attention(path):
    code = ('import runpy, sys; '
            'print(runpy.run_path(sys.argv[1])["find_compiled_attention"]())')
    return run(code, stacks.__file__, PYTHONPATH=str(path)).stdout.strip()
