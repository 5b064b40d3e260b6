# Copyright (c) CellVTA-MMSeg contributors.
"""Reading a config with the options of a command line, and the data sets it names.

A config file is a program: `data_root` at its top is handed on to three data loaders,
`max_iters` to the loop and to the learning rate. MMEngine merges `--cfg-options` into
the result, where such names stand for nothing any more. Here the file is read again
with another value for the name, so that all that follows from it follows.
"""
import ast
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from ..datasets.cell_dataset import CellDataset
from .option_check import check_option

PARTS = ('train', 'val', 'test')
# What the Runner and the tools read of a config. Other names are used inside the file.
SETTINGS = {
    *inspect.signature(Runner.__init__).parameters, 'activation_checkpointing',
    'balance_classes', 'compile', 'custom_imports', 'find_unused_parameters',
    'model_wrapper_cfg', 'runner_type', 'sync_bn', 'tta_model'
}
# These stand in the file, are handed on to the data loaders, and are read themselves.
PIPELINES = {'test_pipeline', 'tta_pipeline'}


def load_config(path: str | Path,
                options: Mapping[str, Any] | Sequence[str] | None = None) -> Config:
    """Reads a config, and makes the names in it known.

    Args:
        path: The config file.
        options: Values that replace those of the file, as a mapping or as `key=value`
            strings of `--cfg-options`. A key is a setting, dotted where it is nested,
            or a name of the file, whose value then goes wherever the file hands it.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is no config, or an option changes nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such config file')
    options = dict(options if isinstance(options, Mapping) else parse_options(options))
    names = {key: options.pop(key) for key in list(options)
             if key.split('.')[0] not in SETTINGS}
    cfg = _read(path)
    if names:
        cfg = _read_with_names(path, cfg, names)
    return set_options(cfg, options)


def set_options(cfg: Config,
                options: Mapping[str, Any] | Sequence[str] | None) -> Config:
    """Sets dotted settings of a config that was read, and returns it.

    Args:
        cfg: The config.
        options: As in `load_config`, without names of a file.

    Raises:
        ValueError: When there is no such setting.
    """
    options = dict(options if isinstance(options, Mapping) else parse_options(options))
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    # Another class first: it may have other arguments.
    for key in sorted(options, key=lambda key: key.split('.')[-1] != 'type'):
        check_option(cfg._cfg_dict, key)
        cfg.merge_from_dict({key: options[key]})
    return cfg


def parse_options(options: Sequence[str] | None) -> dict[str, Any]:
    """Takes `key=value` strings apart; values as MMEngine reads them.

    Raises:
        ValueError: When there is no `=`.
    """
    parsed = {}
    for option in options or ():
        key, equals, value = option.partition('=')
        if not (key and equals):
            raise ValueError(f'--cfg-options {option}: expected key=value, such as '
                             'train_dataloader.batch_size=2')
        parsed[key] = DictAction._parse_iterable(value)
    return parsed


def _read(path: Path) -> Config:
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program and may raise anything
        raise ValueError(
            f'{path}: not a readable config ({type(error).__name__}: {error})'
        ) from error


def _read_with_names(path: Path, cfg: Config, options: dict[str, Any]) -> Config:
    """Reads a config whose names have other values; each must have an effect."""
    values = {}
    for key, value in options.items():
        name = key.split('.')[0]
        if name not in cfg:
            raise ValueError(f'--cfg-options {key}: {path} has no {name}')
        changed = Config({name: values.get(name, cfg[name])})
        changed.merge_from_dict({key: value})
        values[name] = changed.to_dict()[name]
    result = _read_again(path, values)
    for name, value in values.items():
        others = {other: values[other] for other in values if other != name}
        without = _read_again(path, others) if others else cfg
        if value != cfg[name] and _effect(result) == _effect(without):
            raise ValueError(_no_effect(path, cfg, name))
    return result


def _effect(cfg: Config) -> dict:
    """Returns what the Runner and the tools read of a config."""
    return {key: value for key, value in cfg.items() if key in SETTINGS | PIPELINES}


def _no_effect(path: Path, cfg: Config, name: str) -> str:
    places = [place for place, value in _leaves(_effect(cfg)) if value == cfg[name]]
    hint = f'set {", ".join(places[:4])}' if places else 'no setting has its value'
    return (f'--cfg-options {name}: nothing in {path} follows from this name; {hint}')


def _leaves(part: Any, place: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the dotted place and the value of all that a config holds."""
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(
        part, list) else ()
    for key, value in inner:
        yield f'{place}{key}', value
        yield from _leaves(value, f'{place}{key}.')


def _read_again(path: Path, values: dict[str, Any]) -> Config:
    """Reads a copy of the config and of its bases in which names have these values."""
    files = list(dict.fromkeys(_with_bases(path.resolve())))
    top = os.path.commonpath([file.parent for file in files])
    with TemporaryDirectory() as folder:
        for file in files:
            copy = Path(folder, file.relative_to(top))
            copy.parent.mkdir(parents=True, exist_ok=True)
            # `{{ fileDirname }}` is the folder of the config, not of its copy.
            Config._substitute_predefined_vars(str(file), str(copy))
            copy.write_bytes(_assign(copy.read_bytes(), values))
        cfg = _read(Path(folder, path.resolve().relative_to(top)))
    result = Config(cfg._cfg_dict, filename=str(path))
    # Of a pure Python config: what is imported is not part of it.
    object.__setattr__(result, '_imported_names', cfg._imported_names)
    return result


def _with_bases(path: Path) -> Iterator[Path]:
    """Yields a config and all files that it inherits from."""
    yield path
    # What an installed package holds, `::` or without a dot, is not copied.
    for node in ast.parse(path.read_bytes()).body:
        bases = []
        if isinstance(node, ast.Assign) and getattr(
                node.targets[0], 'id', None) == '_base_':
            value = ast.literal_eval(node.value)
            bases = [base for base in ([value] if isinstance(value, str) else value)
                     if '::' not in base]
        elif isinstance(node, ast.With):  # read_base() of a pure Python config
            bases = ['../' * (part.level - 1) + part.module.replace('.', '/') + '.py'
                     for part in node.body
                     if isinstance(part, ast.ImportFrom) and part.level]
        for base in bases:
            yield from _with_bases((path.parent / base).resolve())


def _assign(source: bytes, values: dict[str, Any]) -> bytes:
    """Returns a config file in which top-level names are assigned other values."""
    replaced = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            pairs = zip(target.elts, value.elts, strict=False) if isinstance(
                target, ast.Tuple) and isinstance(value, ast.Tuple) else [
                    (target, value)]
            replaced += [(part, values[name.id]) for name, part in pairs
                         if isinstance(name, ast.Name) and name.id in values]
    lines = source.splitlines(keepends=True)
    for part, value in reversed(replaced):
        first, last = part.lineno - 1, part.end_lineno - 1
        lines[first:last + 1] = [
            lines[first][:part.col_offset] + repr(value).encode()
            + lines[last][part.end_col_offset:]]
    return b''.join(lines)


def part_config(cfg: Config, part: str) -> dict | None:
    """Returns the data set of 'train', 'val' or 'test'; None where there is none."""
    return (cfg.get(f'{part}_dataloader') or {}).get('dataset')


def inner_configs(dataset: dict) -> Iterator[dict]:
    """Yields the data sets inside `RepeatDataset` and `ConcatDataset`, or the one."""
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
    """Returns each data set inside the given one, once, without pipeline and checks."""
    configs = []
    for config in inner_configs(dataset):
        # What counts is which images are in it, not what is done to them.
        config = {**config, 'pipeline': [], 'test_mode': True, 'validate_labels': False}
        if config not in configs:
            configs.append(config)
    return configs


def build_cell_dataset(config: dict) -> CellDataset:
    """Builds a data set of nuclei.

    Raises:
        OSError: When a file is missing.
        ValueError: When it is another kind of data set, or its files are damaged.
    """
    kind = config.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, CellDataset)):
        raise ValueError(f'type={config.get("type")!r}: no data set of nuclei; '
                         'expected one of mmseg_cellvta, such as CellFolderDataset')
    dataset = DATASETS.build(config)
    dataset.full_init()
    return dataset
