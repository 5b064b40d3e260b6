# Copyright (c) CellVTA-MMSeg contributors.
"""The data sets that a config names, for tools that look at data without a model."""
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from ..datasets.cell_dataset import CellDataset

PARTS = ('train', 'val', 'test')


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config, and make the names in it known.

    Args:
        path (str): The config file.
        options (dict, optional): Settings that replace those of the file, as from
            ``--cfg-options``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no config.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such config file')
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(options or {})
    except Exception as error:  # a config is a program and may raise anything
        raise ValueError(
            f'{path}: not a readable config ({type(error).__name__}: {error})'
        ) from error
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    return cfg


def part_config(cfg: Config, part: str) -> dict | None:
    """The data set of 'train', 'val' or 'test'; None where the config has none."""
    return (cfg.get(f'{part}_dataloader') or {}).get('dataset')


def inner_configs(dataset: dict) -> Iterator[dict]:
    """Data sets inside ``RepeatDataset`` and ``ConcatDataset``, or the one given."""
    if 'datasets' in dataset:
        inner = dataset['datasets']
    elif isinstance(dataset.get('dataset'), dict):
        inner = [dataset['dataset']]
    else:
        yield dataset
        return
    for config in inner:
        yield from inner_configs(config)


def unchecked_configs(dataset: dict) -> list[dict]:
    """Each data set inside the given one, once, without pipeline and checks."""
    configs = []
    for config in inner_configs(dataset):
        # What counts is which pictures are in it, not what is done to them.
        config = {**config, 'pipeline': [], 'test_mode': True, 'validate_labels': False}
        if config not in configs:
            configs.append(config)
    return configs


def build_cell_dataset(config: dict) -> CellDataset:
    """Build a data set of nuclei.

    Raises:
        OSError: If a file is missing.
        ValueError: If it is another kind of data set, or its files are damaged.
    """
    kind = config.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, CellDataset)):
        raise ValueError(f'type={config.get("type")!r}: no data set of nuclei; '
                         'expected one of mmseg_cellvta, such as CellFolderDataset')
    dataset = DATASETS.build(config)
    dataset.full_init()
    return dataset
