# Copyright (c) CellVTA-MMSeg contributors.
import math
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from mmseg_cellvta.analysis.ablation_runner import AblationRunner, Launcher, RunFailed
from mmseg_cellvta.analysis.child_process import folder_lock


def lines(log):
    return log.read_text().splitlines()[1:]


def kill_in_training(runner, run, signal_number):
    """Work on `run` in a process that gets a signal when two steps are done."""
    context = multiprocessing.get_context('fork')
    process = context.Process(target=runner.run, args=(run, ))
    process.start()
    train = runner.work_dir / run.folder / 'train'
    while not (train / '2.pth').exists():
        time.sleep(0.05)
    time.sleep(0.2)
    os.kill(process.pid, signal_number)
    process.join()
    assert process.exitcode


def test_a_run_is_trained_tested_and_measured(runner, make_run):
    run = make_run()
    assert runner.finished(run) is None
    result = runner.run(run)
    assert result['metrics']['bPQ'] == 0.4  # of the last of four steps
    assert math.isnan(result['metrics']['mPQ'])
    assert result['cost'] == dict(params=7) and result['train_s'] >= 0
    again = runner.finished(run)
    assert again['metrics']['bPQ'] == 0.4 and again['key'] == run.key


@pytest.mark.parametrize('signal_number', [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_continues_from_its_last_checkpoint(
        runner, make_run, signal_number):
    run = make_run('slow')
    kill_in_training(runner, run, signal_number)
    assert runner.finished(run) is None
    folder = runner.work_dir / run.folder
    assert lines(folder / 'train_1.log') == ['step 1', 'step 2']
    runner.run(run)
    assert lines(folder / 'train_2.log') == ['step 3', 'step 4']
    assert runner.finished(run)['metrics']['bPQ'] == 0.4


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux ends orphans')
def test_a_training_does_not_outlive_a_killed_runner(runner, make_run):
    run = make_run('slow')
    kill_in_training(runner, run, signal.SIGKILL)
    config = str(runner.work_dir / run.folder / 'config.py')
    time.sleep(0.5)
    assert not [path for path in Path('/proc').glob('[0-9]*/cmdline')
                if config in _read(path)]


def _read(path):
    try:
        return path.read_bytes().decode(errors='replace')
    except OSError:  # it has ended
        return ''


def test_a_cut_off_checkpoint_is_not_resumed(runner, make_run):
    run = make_run()
    train = runner.work_dir / run.folder / 'train'
    train.mkdir(parents=True)
    (train / '2.pth').write_bytes(b'PK\x03\x04 half of it')
    (train / 'last_checkpoint').write_text(str(train / '2.pth'))
    runner.run(run)
    assert lines(train.parent / 'train_1.log')[0] == 'step 1'


def test_a_failed_run_says_the_last_lines_of_its_log(runner, make_run):
    run = make_run('fails')
    with pytest.raises(RunFailed) as failed:
        runner.run(run)
    assert str(failed.value).splitlines()[-2:] == [
        'first line', 'ValueError: depth=0']
    assert 'train_1.log: exit code 1' in str(failed.value)
    assert runner.finished(run) is None


def test_a_training_at_its_end_is_not_begun_again(runner, make_run):
    run, script = make_run(), runner.tools / 'test.py'
    working = script.read_text()
    script.write_text('import sys; sys.exit("no memory")')
    with pytest.raises(RunFailed, match='no memory'):
        runner.run(run)
    script.write_text(working)
    assert runner.run(run)['metrics']['bPQ'] == 0.4
    assert len(list((runner.work_dir / run.folder).glob('train_*.log'))) == 1


def test_without_a_best_checkpoint_the_run_has_failed(runner, make_run):
    run = make_run(checkpoint='best')
    with pytest.raises(RunFailed, match='no best checkpoint'):
        runner.run(run)


def test_the_best_checkpoint_is_tested_if_asked_for(runner, make_run):
    script = runner.tools / 'test.py'
    script.write_text(script.read_text().replace('.stem', '.stem[-1]'))
    run = make_run(checkpoint='best')
    train = runner.work_dir / run.folder / 'train'
    train.mkdir(parents=True)
    (train / 'best_mPQ_epoch_2.pth').touch()
    assert runner.run(run)['metrics']['bPQ'] == 0.2


def test_commands_of_the_launchers():
    script = Path('train.py')
    assert Launcher().command(script, 'c.py') == [sys.executable, 'train.py', 'c.py']
    torchrun = Launcher('pytorch', 2).command(script, 'c.py')
    assert torchrun[1:] == [
        '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
        'train.py', 'c.py', '--launcher', 'pytorch']
    srun = Launcher('slurm', 16).command(script, 'c.py')
    assert srun[:6] == ['srun', '--ntasks', '16', '--ntasks-per-node', '8',
                        '--gres=gpu:8']
    assert srun[-4:] == ['train.py', 'c.py', '--launcher', 'slurm']


def test_two_runners_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr('mmseg_cellvta.analysis.child_process.LOCK_WAIT_S', 0)
    with folder_lock(tmp_path):
        with pytest.raises(ValueError, match='another run is at work there'):
            with folder_lock(tmp_path):
                pass
    with folder_lock(tmp_path) as lock:
        assert AblationRunner(tmp_path, tmp_path, Launcher(), lock).lock == lock
