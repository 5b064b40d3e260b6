# Copyright (c) CellVTA-MMSeg contributors.
import pytest
from stained_folder import write_folder

from mmseg_cellvta.datasets import CellFolderDataset
from mmseg_cellvta.utils.configs import (
    build_cell_dataset,
    inner_configs,
    load_config,
    part_config,
    unchecked_configs,
)


def test_options_replace_settings_of_the_file(tmp_path):
    config = write_folder(tmp_path / 'data')
    cfg = load_config(config, {'test_dataloader.dataset.ann_file': 'val.txt'})
    assert part_config(cfg, 'test')['ann_file'] == 'val.txt'


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
