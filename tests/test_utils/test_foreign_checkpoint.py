# Copyright (c) CellVTA-MMSeg contributors.
import argparse
import os

import pytest
import torch

from mmseg_cellvta.utils.checkpoints import load_foreign_weights

STATE = dict(weight=torch.arange(3.))


class Malicious:
    """Pickled so that reading it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command, )


@pytest.mark.parametrize('wrap', [
    lambda s: s, lambda s: dict(model_state_dict=s, arch='CellViTSAM', epoch=3),
    lambda s: dict(state_dict=s, meta={})])
def test_bare_and_wrapped_weights_are_the_same(tmp_path, wrap):
    torch.save(wrap(STATE), tmp_path / 'a.pth')
    assert torch.equal(load_foreign_weights(tmp_path / 'a.pth')['weight'],
                       STATE['weight'])


def test_code_is_named_and_not_run(tmp_path):
    path, trace = tmp_path / 'a.pth', tmp_path / 'trace'
    torch.save(dict(STATE, config=Malicious(f'touch {trace}')), path)
    with pytest.raises(
            ValueError, match=r'a.pth: holds \w+.system besides tensors.*--trust'):
        load_foreign_weights(path)
    assert not trace.exists()


def test_objects_are_read_on_trust(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=STATE, config=argparse.Namespace(a=1)), path)
    with pytest.raises(ValueError, match='holds argparse.Namespace besides'):
        load_foreign_weights(path)
    assert load_foreign_weights(path, trust=True).keys() == STATE.keys()


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / 'a.pth'
    with pytest.raises(ValueError, match='a.pth: no such file'):
        load_foreign_weights(path)
    path.write_bytes(b'not a checkpoint')
    with pytest.raises(ValueError, match='a.pth: not a readable checkpoint'):
        load_foreign_weights(path)


@pytest.mark.parametrize('content', [[1, 2], {}, dict(epoch=3), torch.zeros(2)])
def test_a_file_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='a.pth: expected named tensors'):
        load_foreign_weights(tmp_path / 'a.pth')
