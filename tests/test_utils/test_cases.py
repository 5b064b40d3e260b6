# Copyright (c) CellVTA-MMSeg contributors.
import torch

from mmseg_cellvta.utils import cases as cases_module
from mmseg_cellvta.utils.cases import Case, Result, run_cases
from mmseg_cellvta.utils.time_limit import Deadline


def test_what_fails_says_so_and_the_rest_goes_on():
    def fail(error):
        raise error

    cases = [
        Case('a', '1', lambda: fail(RuntimeError('no compiler\nnear line 2\nmore'))),
        Case('a', '2', lambda: fail(torch.cuda.OutOfMemoryError('tried 2 GiB')),
             required=True),
        Case('a', '3', lambda: fail(RuntimeError('no kernel')), required=True),
        Case('a', '4', lambda: Result(dict(ms=1)))]
    results = [result for _, result in run_cases(cases, Deadline(60))]
    assert [result.remark for result in results] == [
        'RuntimeError: no compiler near line 2', 'out of memory',
        'RuntimeError: no kernel', '']
    assert [result.broken for result in results] == [False, False, True, False]
    assert results[3].figures == dict(ms=1)


def test_what_no_longer_fits_is_left_out():
    cases = [Case('a', '1', lambda: Result(dict(ms=1)))]
    (_, result), = run_cases(cases, Deadline(1))
    assert not result.figures and result.remark.startswith('left out')


def test_a_case_apart_gets_the_time_that_is_left(monkeypatch):
    given = []
    monkeypatch.setattr(cases_module, 'run_apart',
                        lambda call, seconds: given.append(seconds) or call())
    case = Case('a', '1', lambda: Result(dict(ms=1)), apart=True)
    (_, result), = run_cases([case], Deadline(100))
    assert result.figures == dict(ms=1) and 99 < given[0] <= 100
    (_, result), = run_cases([case], Deadline(20))  # its start alone takes as long
    assert not result.figures and len(given) == 1
