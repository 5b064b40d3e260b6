# Copyright (c) CellVTA-MMSeg contributors.
"""The ablation tool beside stand-ins for the scripts it calls: four steps, no torch.

tests/test_integration/test_ablation.py trains for real.
"""
import csv
import json
import shutil
import signal
import time

import pytest
import yaml
from run_tool import TOOLS, run_tool

ROOT = TOOLS.parent
CONFIG = """
model = dict(word='quick')
loader = dict(dataset=dict(data_root='data/cells'))
train_dataloader = dict(
    dataset=dict(type='RepeatDataset', dataset=dict(data_root='data/cells')))
val_dataloader = test_dataloader = loader
"""
TRAIN = """
import os, re, signal, sys, time, zipfile
from pathlib import Path
config = Path(sys.argv[1]).read_text()
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
folder.mkdir(exist_ok=True)
if 'fails' in config:
    print('first line')
    sys.exit('ValueError: depth=0')
last = folder / 'last_checkpoint'
first = int(Path(last.read_text()).stem) + 1 if '--resume' in sys.argv else 1
for step in range(first, 5):
    stop = re.search('SIG[A-Z]+', config)
    if stop and step == 3 and first == 1:
        os.kill(os.getppid(), getattr(signal, stop.group()))
        time.sleep(60)
    with zipfile.ZipFile(folder / f'{step}.pth', 'w') as file:
        file.writestr('step', str(step))
    last.write_text(str(folder / f'{step}.pth'))
    print('step', step, flush=True)
"""
TEST = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--out') + 1])
folder.mkdir(exist_ok=True)
seed = Path(sys.argv[1]).read_text().count('seed=1')
(folder / 'metrics.json').write_text(json.dumps(
    {'cell/bPQ': int(Path(sys.argv[2]).stem[-1]) / 10 + seed / 2, 'cell/mPQ': None}))
"""
COST = """
import json, sys
from pathlib import Path
Path(sys.argv[sys.argv.index('--out') + 1]).write_text(
    json.dumps([dict(params=2_000_000, config='net')]))
"""


@pytest.fixture
def scripts(tmp_path):
    """Folder with the tool and stand-ins for the others."""
    folder = tmp_path / 'tools'
    (folder / 'analysis_tools').mkdir(parents=True)
    (folder / 'train.py').write_text(TRAIN)
    (folder / 'test.py').write_text(TEST)
    (folder / 'analysis_tools/complexity.py').write_text(COST)
    shutil.copy(TOOLS / 'analysis_tools/run_ablation.py', folder / 'analysis_tools')
    return folder


@pytest.fixture
def ablate(tmp_path, scripts):
    """Runs the tool over entries; words are the options of a config."""
    (tmp_path / 'net.py').write_text(CONFIG)
    before = {number: signal.getsignal(number)
              for number in (signal.SIGINT, signal.SIGTERM)}
    # Jobs in the background of a script inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def ablate(*entries, arguments=(), **common):
        entries = [dict(name=entry, config='net.py', options={'model.word': entry})
                   if isinstance(entry, str) else entry for entry in entries]
        path = tmp_path / 'list.yml'
        path.write_text(yaml.safe_dump(dict(common, entries=entries)))
        return run_tool(scripts / 'analysis_tools/run_ablation.py', path,
                        tmp_path / 'work', *arguments)

    yield ablate
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path):
    """The folder of the only run of an entry."""

    def folder(name):
        found, = tmp_path.glob(f'work/{name}*-seed*')
        return found

    return folder


def steps(log):
    return log.read_text().splitlines()[1:]


def test_entries_and_seeds_become_a_table(ablate, tmp_path, capsys):
    assert ablate('good', 'other', seeds=[0, 1]) == 0
    text = (tmp_path / 'work/table.md').read_text()
    assert text in capsys.readouterr().out
    # bPQ is 0.4 and 0.9: last of four steps, and 0.5 for the seed.
    row = '| good | 2/2 | 0.650 ± 0.354 | – | – | 2.000 ± 0.000 | – |'
    assert text.splitlines()[2].startswith(row)
    good, other = csv.DictReader((tmp_path / 'work/table.csv').open(encoding='utf-8'))
    assert (good['entry'], good['seeds done'], good['bPQ']) == ('good', '2', '0.65')
    assert float(good['bPQ sd']) == pytest.approx(0.125**0.5)
    assert good['mPQ'] == good['GMACs'] == '' and float(good['training (min)']) >= 0
    assert other['entry'] == 'other'


def test_others_run_when_one_fails_and_the_table_says_why(ablate, tmp_path, capsys):
    assert ablate('first', 'fails', 'last') == 1
    text = (tmp_path / 'work/table.md').read_text()
    for line in ('| first | 1/1 | 0.400 | – |', '| fails | 0/1 | – | – |',
                 '| last | 1/1 | 0.400 | – |', 'Failed: fails-seed0-',
                 'train_1.log: exit code 1\n', '\nfirst line\nValueError: depth=0\n'):
        assert line in text
    assert text in capsys.readouterr().out


def test_only_what_has_no_result_is_run_again(ablate, scripts, folder):
    works = (scripts / 'test.py').read_text()
    (scripts / 'test.py').write_text('import sys; sys.exit("no memory")')
    assert ablate('good') == 1
    (scripts / 'test.py').write_text(works)
    assert ablate('good') == 0
    assert len(list(folder('good').glob('train_*.log'))) == 1  # it was at its end
    shutil.rmtree(folder('good') / 'train')
    assert ablate('good') == 0


@pytest.mark.parametrize('signal_name', ['SIGINT', 'SIGTERM'])
def test_a_stopped_training_ends_and_continues(ablate, folder, signal_name):
    started = time.monotonic()
    assert ablate(signal_name) == 130
    assert time.monotonic() - started < 50  # the training would have slept for 60 s
    assert steps(folder('SIG') / 'train_1.log') == ['step 1', 'step 2']
    assert ablate(signal_name) == 0
    assert steps(folder('SIG') / 'train_2.log') == ['step 3', 'step 4']
    result = json.loads((folder('SIG') / 'result.json').read_text())
    assert result['metrics']['bPQ'] == 0.4 and result['cost']['params'] == 2_000_000


def test_a_cut_off_checkpoint_is_not_resumed(ablate, folder):
    ablate('fails')
    train = folder('fails') / 'train'
    (train / '2.pth').write_bytes(b'PK\x03\x04 half of it')
    (train / 'last_checkpoint').write_text(str(train / '2.pth'))
    ablate('fails')
    assert '--resume' not in (train.parent / 'train_2.log').read_text()


def test_the_best_checkpoint_is_tested_if_asked_for(ablate, scripts, folder, tmp_path):
    assert ablate('good', checkpoint='best') == 1
    assert 'no best checkpoint' in (tmp_path / 'work/table.md').read_text()
    (folder('good') / 'train/best_mPQ_epoch_2.pth').touch()
    assert ablate('good', checkpoint='best') == 0
    assert '| good | 1/1 | 0.200 |' in (tmp_path / 'work/table.md').read_text()


def test_a_run_has_the_settings_of_its_entry_and_of_the_command(ablate, folder):
    ablate(dict(name='a', config='net.py', seeds=[3], options={'model.depth': 3}),
           arguments=['--data-root', 'else where', '--cfg-options', 'model.word=new'])
    config = (folder('a') / 'config.py').read_text()
    assert config.count("data_root='else where'") == 3
    assert 'max_keep_ckpts=2' in config and 'depth=3' in config and 'seed=3' in config
    assert "word='new'" in config


@pytest.mark.parametrize('change', [
    dict(options={'model.word': 'new'}), dict(seeds=[1]), dict(checkpoint='best')])
def test_a_changed_entry_runs_in_a_new_folder(ablate, tmp_path, change):
    entry = dict(name='a', config='net.py')
    for again in (entry, entry | dict(options={'model.word': 'quick'}), entry | change):
        ablate(again)
    assert len(list(tmp_path.glob('work/a-seed*'))) == 2


def test_several_gpus_are_started_by_torchrun(ablate, folder, monkeypatch):
    monkeypatch.setattr('sys.executable', '/bin/false')
    assert ablate('a', arguments=['--launcher', 'pytorch', '--gpus', 2]) == 1
    command = (folder('a') / 'train_1.log').read_text().splitlines()[0]
    assert '-m torch.distributed.run --standalone --nproc-per-node=2 ' in command
    assert command.endswith('--launcher pytorch')


def entry(name='a', **changes):
    return dict(name=name, config='net.py') | changes


@pytest.mark.parametrize(('entries', 'message'), [
    ([], 'expected a key `entries`'),
    ([dict(name='a')], 'has no `config`'),
    ([entry(config='gone.py')], 'gone.py: no such config'),
    ([entry('a/b')], "entry 'a/b': expected a `name`"),
    ([entry(), entry()], "entry 'a': two entries have this name"),
    ([entry(sed=[1])], "unknown keys ['sed']; known are"),
    ([entry(seeds=[1, 1])], 'seeds=[1, 1]; expected different whole numbers'),
    ([entry(seeds=2)], 'seeds=2; expected different'),
    ([entry(checkpoint='first')], "checkpoint='first'; expected last or best")])
def test_mistakes_in_a_list_are_named(ablate, tmp_path, entries, message):
    code = ablate(*entries)
    assert code.startswith('error: ') and message in code
    assert not list(tmp_path.glob('work/*'))


def test_what_is_no_list_is_refused(ablate, scripts, tmp_path):
    assert "unknown keys ['options']" in ablate('a', options={})
    tool = scripts / 'analysis_tools/run_ablation.py'
    (tmp_path / 'list.yml').write_text('entries: [')
    assert 'list.yml: not YAML' in run_tool(tool, tmp_path / 'list.yml', tmp_path)
    assert run_tool(tool, tmp_path / 'none.yml', tmp_path) == 2


@pytest.mark.parametrize(
    'path', sorted(ROOT.glob('configs/ablation/*.yml')), ids=lambda path: path.stem)
def test_lists_of_the_repository_are_read(path, tmp_path, monkeypatch):
    """Every run has a folder of its own; none is started."""
    monkeypatch.setattr('sys.executable', '/bin/false')
    assert run_tool('analysis_tools/run_ablation.py', path, tmp_path) == 1
    content = yaml.safe_load(path.read_text())
    runs = len(content['entries']) * len(content.get('seeds', [0]))
    assert len(list(tmp_path.glob('*-seed*/config.py'))) == runs > 1
