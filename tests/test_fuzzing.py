# Copyright (c) CellVTA-MMSeg contributors.
"""Damaged files of every kind; `python tests/fuzzing.py` tries more of them."""
import os
import time

import fuzzing
import pytest
from fuzzed_kinds import KINDS, Kind, write_originals
from fuzzing import FAULT, VALUE, mutate, read_mutant, run

MUTANTS_PER_KIND = 6


def write_anything(path):
    path.write_text('anything')


@pytest.fixture(scope='module')
def originals(tmp_path_factory):
    return write_originals(tmp_path_factory.mktemp('originals'))


@pytest.mark.parametrize('kind', KINDS)
def test_intact_files_are_read(kind, originals, tmp_path):
    path = tmp_path / KINDS[kind].file
    path.write_bytes(originals[kind])
    assert read_mutant(KINDS[kind].read, path) == (VALUE, '')


def test_damaged_files_end_in_a_value_or_a_sentence():
    outcomes = list(run(range(MUTANTS_PER_KIND * len(KINDS)), list(KINDS)))
    assert len(outcomes) == MUTANTS_PER_KIND * len(KINDS) >= 200
    assert not [outcome for outcome in outcomes if outcome.result == FAULT]


def test_a_number_says_all_of_a_mutant(originals):
    files = list(originals.values())
    for number in range(50):
        assert mutate(files[0], files, number) == mutate(files[0], files, number)
    assert len({mutate(files[0], files, number) for number in range(50)}) > 30


@pytest.mark.parametrize('error', [
    KeyError('a.png'), MemoryError('a.png'), RecursionError('a.png'),
    AssertionError('a.png'), ValueError('no name'), OSError('a.png: two\nlines')],
    ids=repr)
def test_any_other_end_is_a_fault(error, tmp_path):
    def read(path):
        raise error
    assert read_mutant(read, tmp_path / 'a.png')[0] == FAULT


@pytest.mark.parametrize(('read', 'why'), [
    (lambda path: os._exit(3), 'its process died with exit code 3'),
    (lambda path: time.sleep(30), 'its process took more than 1 s'),
    (lambda path: bytearray(3 << 30), 'MemoryError')])
def test_a_reading_that_takes_its_process_along_is_a_fault(read, why, monkeypatch):
    monkeypatch.setattr(fuzzing, 'TIME_S', 1)
    monkeypatch.setitem(KINDS, 'wrong', Kind('a', write_anything, read))
    monkeypatch.setitem(KINDS, 'right', Kind('b', write_anything, lambda path: None))
    wrong, right = sorted(run(range(2), ['wrong', 'right']), key=lambda o: o.number)
    assert wrong.result == FAULT and why in wrong.text and wrong.kind == 'wrong'
    assert (right.result, right.kind) == (VALUE, 'right')
