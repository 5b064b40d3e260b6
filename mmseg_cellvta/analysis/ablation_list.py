# Copyright (c) CellVTA-MMSeg contributors.
"""The list of an ablation: which config is run with which changes and seeds."""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from mmengine.config import Config

from ..utils.configs import PARTS, inner_configs, load_config
from ..utils.files import settings_digest

LIST_KEYS = {'seeds', 'checkpoint', 'entries'}
ENTRY_KEYS = {'name', 'config', 'options', 'seeds', 'checkpoint'}
# MMEngine deletes before it saves: with one checkpoint, a training that is killed at
# that moment has none.
RESUMABLE = {'default_hooks.checkpoint.max_keep_ckpts': 2}
CHECKPOINTS = ('last', 'best')


@dataclass(frozen=True)
class AblationRun:
    """One training and its test.

    Attributes:
        name (str): Name of the entry; runs that differ in their seed share it.
        seed (int): Seed of the training.
        checkpoint (str): Which one is tested: 'last', or 'best' on the validation data.
        cfg (Config): The config with all changes.
    """
    name: str
    seed: int
    checkpoint: str
    cfg: Config

    @property
    def key(self) -> str:
        """Eight digits that differ as soon as any setting does."""
        return settings_digest([self.checkpoint, self.cfg.to_dict()], digits=8)

    @property
    def folder(self) -> str:
        """Name of the run's folder; a changed entry never finds what is of the old."""
        return f'{self.name}-seed{self.seed}-{self.key}'


def read_ablation_list(path: str | Path, data_root: str | None = None,
                       options: dict | None = None) -> list[AblationRun]:
    """Read a YAML list and the configs it names.

    ``entries`` lists mappings with ``name``, ``config`` (relative to the list),
    ``options`` (settings of the config to replace, ``model.backbone.x: value``),
    ``seeds`` (default ``[0]``) and ``checkpoint`` ('last', the default, or 'best').
    Seeds and checkpoint may also be given once, beside ``entries``.

    Args:
        path (str | Path): The list.
        data_root (str, optional): Folder of the data of every entry, instead of what
            the configs say.
        options (dict, optional): Settings to replace in every entry.

    Returns:
        list[AblationRun]: In the order of the list, seed by seed.

    Raises:
        FileNotFoundError: If the list or a config is missing.
        ValueError: If the list or a config is not as it must be.
    """
    path = Path(path)
    content = _read_yaml(path)
    common = {key: content[key] for key in ('seeds', 'checkpoint') if key in content}
    names, runs = set(), []
    for entry in content['entries']:
        entry = {'seeds': [0], 'checkpoint': 'last', **common, **entry}
        _check_entry(entry, names, path)
        names.add(entry['name'])
        for seed in entry['seeds']:
            cfg = load_config(
                str(path.parent / entry['config']),
                {**RESUMABLE, **entry.get('options', {}), **(options or {}),
                 'randomness.seed': seed})
            if data_root is not None:
                _set_data_root(cfg, data_root)
            runs.append(AblationRun(entry['name'], seed, entry['checkpoint'], cfg))
    return runs


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such list of an ablation')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ValueError(f'{path}: not YAML ({error})') from error
    entries = content.get('entries') if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f'{path}: expected a key `entries` with a list of mappings')
    _check_keys(content, LIST_KEYS, str(path))
    return content


def _check_entry(entry: dict, names: set[str], path: Path) -> None:
    where = f'{path}: entry {entry.get("name")!r}'
    _check_keys(entry, ENTRY_KEYS, where)
    if 'config' not in entry:
        raise ValueError(f'{where}: has no `config`')
    if not re.fullmatch(r'[\w.+-]+', str(entry.get('name', ''))):
        raise ValueError(f'{where}: expected a `name` of letters, digits and any of '
                         '_ . + -, because a folder is called after it')
    if entry['name'] in names:
        raise ValueError(f'{where}: two entries have this name')
    if entry['checkpoint'] not in CHECKPOINTS:
        raise ValueError(f'{where}: checkpoint={entry["checkpoint"]!r}; expected one '
                         f'of {list(CHECKPOINTS)}')
    seeds = entry['seeds']
    if not (isinstance(seeds, list) and seeds and len(set(seeds)) == len(seeds)
            and all(isinstance(seed, int) for seed in seeds)):
        raise ValueError(f'{where}: seeds={seeds!r}; expected different whole numbers, '
                         'such as [0, 1, 2]')


def _check_keys(mapping: dict, known: set[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise ValueError(f'{where}: unknown key {key!r}; known are {sorted(known)}')


def _set_data_root(cfg: Config, data_root: str) -> None:
    for part in PARTS:
        for dataset in inner_configs(cfg[f'{part}_dataloader'].dataset):
            dataset.data_root = data_root
