# Copyright (c) CellVTA-MMSeg contributors.
import pytest
from stained_folder import write_folder

from mmseg_cellvta.configuration.configs import (
    build_cell_dataset,
    inner_configs,
    load_config,
    part_config,
    unchecked_configs,
)
from mmseg_cellvta.datasets import CellFolderDataset
from mmseg_cellvta.datasets.transforms import ResizeToMpp


def test_options_replace_settings_of_the_file(tmp_path):
    config = write_folder(tmp_path / 'data')
    cfg = load_config(config, {'test_dataloader.dataset.ann_file': 'val.txt'})
    assert part_config(cfg, 'test')['ann_file'] == 'val.txt'


@pytest.fixture
def inheriting(tmp_path):
    """A config whose base hands names on, and another file that it takes them from."""
    (tmp_path / 'base.py').write_text(
        "root, size = '/µ', (1, 2)  # µ\nsteps = [dict(type='Crop', size=size)]\n"
        'train_dataloader = dict(dataset=dict(data_root=root, pipeline=steps))\n'
        'test_dataloader = train_dataloader\n')
    (tmp_path / 'leaf').mkdir()
    (tmp_path / 'leaf/config.py').write_text(
        "_base_ = '../base.py'\nlr = 1e-3\nunused = 3\n"
        'optim_wrapper = dict(lr=lr, factor=2 * lr)\n'
        'val_dataloader = dict(dataset=dict(pipeline={{_base_.steps}}))\n'
        "work_dir = '{{ fileDirname }}/runs'\n")
    return tmp_path / 'leaf/config.py'


def test_a_name_goes_wherever_the_file_hands_it(inheriting):
    cfg = load_config(inheriting, ['lr=0.5', 'root=/new', 'size=(3,4)'])
    assert cfg.optim_wrapper == dict(lr=0.5, factor=1.0)
    for part in ('train', 'test'):
        dataset = part_config(cfg, part)
        assert dataset.data_root == '/new' and dataset.pipeline[0].size == (3, 4)
    assert part_config(cfg, 'val').pipeline[0].size == (3, 4)
    assert cfg.filename == str(inheriting)
    assert cfg.work_dir == str(inheriting.with_name('runs'))


@pytest.fixture
def in_python(tmp_path):
    """The same in MMEngine's pure Python style, with a class in place of a name."""
    (tmp_path / 'base.py').write_text(
        'from mmseg_cellvta.datasets.transforms import ResizeToMpp\n'
        "root, size = '/µ', (1, 2)\nsteps = [dict(type=ResizeToMpp, size=size)]\n"
        'train_dataloader = dict(dataset=dict(data_root=root, pipeline=steps))\n')
    (tmp_path / 'leaf/deeper').mkdir(parents=True)
    (tmp_path / 'leaf/deeper/schedule.py').write_text('lr = 1e-3\n'
                                                      'optim_wrapper = dict(lr=lr)\n')
    (tmp_path / 'leaf/config.py').write_text(
        'from mmengine.config import read_base\nwith read_base():\n'
        '    from ..base import *\n    from .deeper.schedule import *\n'
        'model = dict(mpp=0.5)\nval_dataloader = train_dataloader\n')
    return tmp_path / 'leaf/config.py'


def test_names_of_a_pure_python_config_go_there_too(in_python):
    cfg = load_config(in_python, ['lr=0.5', 'root=/new', 'size=(3,4)', 'model.mpp=1'])
    assert cfg.optim_wrapper.lr == 0.5 and cfg.model.mpp == 1
    for part in ('train', 'val'):
        dataset = part_config(cfg, part)
        assert dataset.data_root == '/new'
        assert dataset.pipeline[0] == dict(type=ResizeToMpp, size=(3, 4))
    assert cfg.filename == str(in_python) and 'ResizeToMpp' in cfg.pretty_text
    with pytest.raises(ValueError, match='rate: .*config.py has no rate'):
        load_config(in_python, ['rate=1'])


def test_parts_of_a_name_go_there_too(inheriting):
    cfg = load_config(inheriting, {'steps.0.size': 9, 'steps.0.type': 'Pad'})
    assert [part_config(cfg, part).pipeline
            for part in ('train', 'val', 'test')] == [[dict(type='Pad', size=9)]] * 3


@pytest.mark.parametrize(('option', 'message'), [
    ('rate=1', 'rate: .*config.py has no rate'),
    ('optim.lr=1', 'optim.lr: .*config.py has no optim'),
    ('unused=4', 'unused: nothing in .*config.py follows from this name; no setting'),
    ('lr', 'lr: expected key=value')])
def test_an_option_without_effect_is_refused(inheriting, option, message):
    with pytest.raises(ValueError, match=message):
        load_config(inheriting, [option])


def test_a_dumped_config_names_the_key_that_does(inheriting, tmp_path):
    load_config(inheriting).dump(tmp_path / 'dumped.py')
    with pytest.raises(ValueError, match='set optim_wrapper.lr'):
        load_config(tmp_path / 'dumped.py', ['lr=1'])
    assert load_config(tmp_path / 'dumped.py', ['optim_wrapper.lr=1']
                       ).optim_wrapper.lr == 1


def test_a_missing_part_is_none(tmp_path):
    (tmp_path / 'config.py').write_text('val_dataloader = None\n')
    cfg = load_config(tmp_path / 'config.py')
    assert part_config(cfg, 'val') is None and part_config(cfg, 'test') is None


@pytest.mark.parametrize('text', ['a = (', '1 / 0'])
def test_what_is_no_config_is_refused_by_name(tmp_path, text):
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(ValueError, match='config.py: not a readable config'):
        load_config(tmp_path / 'config.py')
    with pytest.raises(FileNotFoundError, match='none.py: no such config file'):
        load_config(tmp_path / 'none.py')


def test_wrappers_are_taken_off_and_each_data_set_is_there_once():
    plain, other = (dict(type='A', data_root=root, pipeline=[1]) for root in 'xy')
    repeated = dict(type='RepeatDataset', times=3, dataset=plain)
    nested = dict(type='ConcatDataset', datasets=[repeated, other, plain])
    assert list(inner_configs(nested)) == [plain, other, plain]
    assert [config['data_root'] for config in unchecked_configs(nested)] == ['x', 'y']


def test_a_data_set_is_built_without_looking_at_its_labels(tmp_path):
    config = write_folder(tmp_path / 'data')
    (tmp_path / 'data/Labels/c_1.npy').write_bytes(b'broken')
    (unchecked,) = unchecked_configs(part_config(load_config(config), 'test'))
    dataset = build_cell_dataset(unchecked)
    assert isinstance(dataset, CellFolderDataset) and len(dataset) == 2


def test_other_data_sets_are_refused():
    with pytest.raises(ValueError, match="'ADE20KDataset': no data set of nuclei"):
        build_cell_dataset(dict(type='ADE20KDataset'))
    with pytest.raises(ValueError, match="'NoSuchDataset': no data set of nuclei"):
        build_cell_dataset(dict(type='NoSuchDataset'))
