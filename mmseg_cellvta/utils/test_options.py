# Copyright (c) CellVTA-MMSeg contributors.
"""What `--tta` and `--out` of `tools/test.py` change in a config."""
import copy
import inspect
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmseg.registry import METRICS

from .configs import inner_configs
from .type_names import type_name

# Transforms that move pixels without saying how, so that no map can be moved back.
MOVING = {
    'CellRandomAffine', 'CellRandomRotate90', 'CellRandomSizedCrop', 'CenterCrop',
    'RandomAffine', 'RandomCrop', 'RandomRotFlip', 'RandomRotate', 'RandomTile'
}


def enable_tta(cfg: Config) -> None:
    """Tests by the config's `tta_pipeline` and `tta_model`, whatever wraps the data.

    Raises:
        ValueError: When the config lacks one of them, or the maps of a view could not
            be moved back.
    """
    for name in ('test_dataloader', 'tta_pipeline', 'tta_model'):
        if cfg.get(name) is None:
            raise ValueError(f'--tta needs {name} in the config, as in '
                             'configs/_base_/datasets/custom.py')
    for transform in _transforms(cfg.tta_pipeline):
        if type_name(transform) in MOVING:
            raise ValueError(
                f'--tta: {type_name(transform)} in tta_pipeline moves pixels, and its '
                'maps cannot be moved back; use RandomFlip')
    for dataset in inner_configs(cfg.test_dataloader.dataset):
        dataset['pipeline'] = copy.deepcopy(cfg.tta_pipeline)
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def _transforms(part: dict | list) -> Iterator[dict]:
    """Yields all transforms of a pipeline, also those inside `TestTimeAug`."""
    if isinstance(part, dict):
        yield part
        part = part.get('transforms', [])
    for inner in part:
        yield from _transforms(inner)


def keep_predictions(cfg: Config, folder: str) -> None:
    """Lets each metric that can write predictions do so.

    The first one writes into the folder itself, another one into a folder there that is
    called like its prefix or its class.

    Raises:
        ValueError: When no metric can, or two would write the same files.
    """
    folders = []
    for metric in _metrics(cfg.get('test_evaluator') or []):
        if 'output_dir' not in _arguments(metric):
            continue
        name = metric.get('prefix') or type_name(metric)
        own = str(Path(folder, name)) if folders else folder
        if own in folders:
            raise ValueError(f'--out: two metrics of test_evaluator would write into '
                             f'{own}; give each a prefix of its own')
        folders.append(own)
        metric.update(output_dir=own, keep_results=True)
    if not folders:
        raise ValueError('--out: no metric of test_evaluator writes predictions; add '
                         "dict(type='CellInstanceMetric')")


def _metrics(evaluator: dict | list) -> Iterator[dict]:
    """Yields the metrics of one, of a list, or of an `Evaluator`."""
    if isinstance(evaluator, dict):
        if 'metrics' not in evaluator:
            yield evaluator
            return
        evaluator = evaluator['metrics']
    yield from evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]


def _arguments(metric: dict) -> set[str]:
    kind = metric['type']
    kind = METRICS.get(kind) if isinstance(kind, str) else kind
    return set() if kind is None else set(inspect.signature(kind).parameters)
