# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

from mmseg_cellvta.utils.files import settings_digest


def test_equal_settings_in_any_order_have_equal_digits():
    first = settings_digest(dict(a=1, b=[2, dict(c=Path('x'))]))
    assert first == settings_digest(dict(b=[2, dict(c='x')], a=1))
    assert first == '2fc0512a3065c476'
    assert settings_digest(dict(a=1, b=[2, dict(c=Path('x'))]), digits=8) == first[:8]


def test_any_change_shows():
    assert len({settings_digest(settings) for settings in (
        dict(a=1), dict(a=2), dict(a='1'), dict(b=1), [1], dict(a=[1]))}) == 6
