# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmseg_cellvta.analysis.ablation_list import read_ablation_list

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
model = dict(type='Net', depth=2, stages=(0, 1))
loader = dict(dataset=dict(type='Cells', data_root='data/cells'))
train_dataloader = dict(
    dataset=dict(type='RepeatDataset', dataset=dict(data_root='data/cells')))
val_dataloader = test_dataloader = loader
"""


@pytest.fixture
def write(tmp_path):
    """Writes a list beside a config; returns its path."""
    (tmp_path / 'net.py').write_text(CONFIG)

    def write(entries, **common):
        path = tmp_path / 'list.yml'
        path.write_text(yaml.safe_dump(dict(common, entries=entries)))
        return path

    return write


def entry(name='a', **changes):
    return dict(name=name, config='net.py') | changes


def test_options_and_seeds_are_in_the_config_of_each_run(write):
    runs = read_ablation_list(write(
        [entry(options={'model.stages': []}), entry('b', seeds=[3])], seeds=[0, 1]))
    assert [(run.name, run.seed) for run in runs] == [('a', 0), ('a', 1), ('b', 3)]
    assert [run.cfg.randomness.seed for run in runs] == [0, 1, 3]
    assert runs[0].cfg.model.stages == [] and runs[2].cfg.model.stages == (0, 1)
    assert {run.checkpoint for run in runs} == {'last'}


def test_the_data_folder_reaches_every_data_set(write):
    run, = read_ablation_list(write([entry()]), data_root='elsewhere')
    assert run.cfg.train_dataloader.dataset.dataset.data_root == 'elsewhere'
    assert run.cfg.val_dataloader.dataset.data_root == 'elsewhere'
    assert run.cfg.test_dataloader.dataset.data_root == 'elsewhere'


def test_a_killed_training_always_leaves_a_checkpoint(write):
    run, = read_ablation_list(write([entry()]))
    assert run.cfg.default_hooks.checkpoint.max_keep_ckpts == 2


@pytest.mark.parametrize('change', [
    dict(options={'model.depth': 3}), dict(seeds=[1]), dict(checkpoint='best'),
    dict(name='b')])
def test_a_changed_setting_has_another_folder_and_the_same_one_has_not(write, change):
    before, = read_ablation_list(write([entry()]))
    again, = read_ablation_list(write([entry(options={'model.depth': 2})]))
    changed, = read_ablation_list(write([entry(**change)]))
    assert again.folder == before.folder
    assert changed.folder != before.folder


def test_options_of_the_command_line_win(write):
    run, = read_ablation_list(
        write([entry(options={'model.depth': 3})]), options={'model.depth': 5})
    assert run.cfg.model.depth == 5


@pytest.mark.parametrize(('entries', 'message'), [
    ([], 'expected a key `entries`'),
    ([dict(name='a')], 'has no `config`'),
    ([entry('a/b')], "entry 'a/b': expected a `name`"),
    ([entry(), entry()], "entry 'a': two entries have this name"),
    ([entry(sed=[1])], "unknown key 'sed'; known are"),
    ([entry(seeds=[1, 1])], 'expected different whole numbers'),
    ([entry(seeds=2)], 'seeds=2; expected'),
    ([entry(checkpoint='first')], "checkpoint='first'; expected one of")])
def test_what_is_wrong_with_a_list_is_said(write, entries, message):
    with pytest.raises(ValueError, match=message):
        read_ablation_list(write(entries))


def test_missing_files_are_named(write, tmp_path):
    with pytest.raises(FileNotFoundError, match='no-list.yml'):
        read_ablation_list(tmp_path / 'no-list.yml')
    with pytest.raises(FileNotFoundError, match='gone.py: no such config'):
        read_ablation_list(write([entry(config='gone.py')]))


def test_broken_yaml_is_said(tmp_path):
    (tmp_path / 'list.yml').write_text('entries: [')
    with pytest.raises(ValueError, match='list.yml: not YAML'):
        read_ablation_list(tmp_path / 'list.yml')


@pytest.mark.parametrize(
    'path', sorted(ROOT.glob('configs/ablation/*.yml')), ids=lambda path: path.stem)
def test_lists_of_the_repository_are_read(path):
    content = yaml.safe_load(path.read_text())
    missing = [entry['config'] for entry in content['entries']
               if not (path.parent / entry['config']).is_file()]
    if missing:
        pytest.skip(f'{missing[0]} is not there')
    runs = read_ablation_list(path)
    assert len({run.folder for run in runs}) == len(runs) > 1
    assert all(isinstance(run.cfg, Config) for run in runs)
