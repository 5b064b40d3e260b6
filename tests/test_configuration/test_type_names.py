# Copyright (c) CellVTA-MMSeg contributors.
import pytest
from mmengine.optim import OptimWrapper

from mmseg_cellvta.configuration.type_names import type_name


@pytest.mark.parametrize('kind', [
    'OptimWrapper', 'mmengine.OptimWrapper', 'mmengine.optim.OptimWrapper',
    OptimWrapper])
def test_a_name_and_a_class_are_the_same(kind):
    assert type_name(dict(type=kind)) == 'OptimWrapper'


def test_a_config_without_type_has_no_name():
    assert type_name({}) is None
