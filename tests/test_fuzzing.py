# Copyright (c) CellVTA-MMSeg contributors.
"""Damaged files of every kind; `python tests/fuzzing.py` tries more of them."""
import pytest
from fuzzed_kinds import KINDS, write_originals
from fuzzing import FAULT, VALUE, read_mutant, run

MUTANTS_PER_KIND = 6


@pytest.mark.parametrize('kind', KINDS)
def test_intact_files_are_read(kind, tmp_path):
    original = write_originals(tmp_path)[kind]
    path = tmp_path / 'read' / KINDS[kind].file
    path.parent.mkdir()
    path.write_bytes(original)
    assert read_mutant(KINDS[kind].read, path) == (VALUE, '')


def test_damaged_files_end_in_a_value_or_a_sentence():
    outcomes = list(run(range(MUTANTS_PER_KIND * len(KINDS)), list(KINDS)))
    assert len(outcomes) == MUTANTS_PER_KIND * len(KINDS) >= 200
    assert not [outcome for outcome in outcomes if outcome.result == FAULT]
