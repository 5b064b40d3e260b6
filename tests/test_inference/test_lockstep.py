# Copyright (c) CellVTA-MMSeg contributors.
import pytest

from mmseg_cellvta.inference import lockstep as module
from mmseg_cellvta.inference.lockstep import lockstep


@pytest.mark.parametrize('together', [False, True])
def test_an_own_error_stays_what_it_is(together):
    with pytest.raises(OSError, match='disk full'), lockstep(together):
        raise OSError('disk full')
    with lockstep(together):
        pass


def test_the_error_of_another_process_is_raised_here(monkeypatch):
    monkeypatch.setattr(module, 'all_gather_object', lambda own: [own, 'disk full'])
    with pytest.raises(RuntimeError, match='disk full'), lockstep(together=True):
        pass
    with lockstep(together=False):  # this one works alone
        pass
