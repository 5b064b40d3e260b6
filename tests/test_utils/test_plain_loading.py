# Copyright (c) CellVTA-MMSeg contributors.
import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import load_checkpoint
from unsafe_checkpoints import Command, write_unsafe

from mmseg_cellvta.utils.plain_loading import CheckpointError, plain_loading


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'a.pth'


def load(path, **kwargs):
    with plain_loading():
        return torch.load(path, **kwargs)


@pytest.mark.parametrize('save', [
    dict(), dict(_use_new_zipfile_serialization=False), dict(pickle_protocol=4)])
@pytest.mark.parametrize('asked', [dict(), dict(weights_only=False)])
@pytest.mark.parametrize('switched_off', [False, True])
@pytest.mark.filterwarnings('ignore:Detected pickle protocol 4')
def test_code_does_not_run_whatever_is_asked_for(
        path, tmp_path, monkeypatch, save, asked, switched_off):
    if switched_off:
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save(dict(weight=Command(f'touch {tmp_path}/marker')), path, **save)
    with pytest.raises(CheckpointError, match=r'a\.pth: (holds|not a readable)'):
        load(path, **asked)
    assert not (tmp_path / 'marker').exists()


@pytest.mark.filterwarnings('ignore:Detected pickle protocol 4')
def test_a_bare_pickle_does_not_run(path, tmp_path):
    path.write_bytes(pickle.dumps(Command(f'touch {tmp_path}/marker')))
    with pytest.raises(CheckpointError):
        load(path)
    assert not (tmp_path / 'marker').exists()


@pytest.mark.parametrize(('held', 'name'), [
    (Command('true'), r'\w+\.system'), (Call(exec, 'pass'), 'exec'),
    (Namespace(a=1), 'argparse.Namespace'),
    (np.datetime64('2020'), 'numpy.dtypes.DateTime64DType')])
def test_what_is_held_is_named_in_one_sentence(path, held, name):
    torch.save(dict(meta=dict(held=held)), path)
    with pytest.raises(CheckpointError, match=(
            rf'a\.pth: holds {name} besides tensors .*; .* --trust')) as error:
        load(path)
    assert '\n' not in str(error.value)


def test_mmengine_reads_plainly_in_the_block_and_as_before_outside(path, tmp_path):
    model = torch.nn.Linear(2, 1)
    write_unsafe(path, tmp_path / 'marker', model.state_dict())
    outside = torch.load
    with pytest.raises(CheckpointError, match='system'), plain_loading():
        load_checkpoint(model, str(path), map_location='cpu')
    assert not (tmp_path / 'marker').exists() and torch.load is outside


def test_downloads_are_read_plainly(path, tmp_path):
    """MMEngine asks torch.hub, which by default asks for no protection."""
    write_unsafe(path, tmp_path / 'marker', {})
    with pytest.raises(CheckpointError, match='system'), plain_loading():
        torch.hub.load_state_dict_from_url(
            path.as_uri(), model_dir=str(tmp_path / 'hub'), progress=False)
    assert not (tmp_path / 'marker').exists()


def test_trust_reads_everything(path, tmp_path):
    write_unsafe(path, tmp_path / 'marker', {})
    with plain_loading(trust=True):
        assert torch.load(path)['meta']['hidden'] == 0
    assert (tmp_path / 'marker').exists()


def test_a_protected_block_within_a_trusting_one_is_protected(path):
    torch.save(Namespace(a=1), path)
    with plain_loading(trust=True):
        with pytest.raises(CheckpointError):
            load(path)
        assert torch.load(path).a == 1


def test_what_mmengine_writes_is_read_as_data(path):
    history = HistoryBuffer([1.5, 2.5], [1, 1])
    meta = dict(best=np.float64(0.5), epoch=np.int64(3), name=np.str_('a'),
                palette=np.zeros((2, 3), np.uint8))
    torch.save(dict(meta=meta, message_hub=dict(log_scalars=dict(loss=history)),
                    param_schedulers=[dict(
                        anneal_func=OneCycleParamScheduler._annealing_cos,
                        total_steps=4)]), path)
    content = load(path)
    assert str(content['meta']) == str(meta)
    assert content['param_schedulers'] == [dict(total_steps=4)]
    loss = content['message_hub']['log_scalars']['loss']
    assert type(loss) is HistoryBuffer and loss.mean() == 2
    assert [values.tolist() for values in loss.data] == [[1.5, 2.5], [1, 1]]


def test_nothing_is_reached_through_getattr(path):
    """The maintained MMEngine declares it safe; here it is a name without effect."""
    torch.save(dict(meta=dict(held=Call(getattr, HistoryBuffer, '__init__'))), path)
    with torch.serialization.safe_globals([getattr, HistoryBuffer]):
        held = load(path)['meta']['held']
        assert getattr in torch.serialization.get_safe_globals()
    assert type(held) is object


def test_what_others_declare_safe_is_read(path):
    """timm reads checkpoints with the arguments of their training so."""
    torch.save(dict(args=Namespace(a=1)), path)
    with torch.serialization.safe_globals([Namespace]):
        assert load(path)['args'].a == 1
    with pytest.raises(CheckpointError, match='argparse.Namespace'):
        load(path)


def test_methods_of_a_log_history_stay_its_own(path):
    history = HistoryBuffer([1.0], [1])
    history.__dict__['_log_history'] = np.array([4.0])
    history.__dict__['mean'] = 'not a method'
    torch.save(dict(history=history), path)
    assert load(path)['history'].mean() == 4


def test_a_program_in_the_meta_is_left_out(path):
    """MMEngine runs `config` of old checkpoints when it resumes."""
    torch.save(dict(meta=dict(config='raise SystemExit', epoch=1)), path)
    assert load(path)['meta'] == dict(epoch=1)
