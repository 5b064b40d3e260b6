# Copyright (c) CellVTA-MMSeg contributors.
"""The metrics of a config: one, a list, or those of an `Evaluator`."""
import inspect
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmseg.registry import METRICS

from .type_names import type_name


def keep_predictions(cfg: Config, folder: str) -> None:
    """Lets each metric that can write predictions do so.

    The first one, a `CellInstanceMetric` if there is one, writes into the folder
    itself, another one into a folder there that is called like its prefix or its class.

    Raises:
        ValueError: When no metric can, or two would write the same files.
    """
    folders = []
    writing = [metric for metric in _metrics(cfg.get('test_evaluator') or [])
               if 'output_dir' in _arguments(metric)]
    # The ablation tool looks for the metrics.json of nuclei in the folder itself.
    writing.sort(key=lambda metric: type_name(metric) != 'CellInstanceMetric')
    for metric in writing:
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


def check_prefixes(evaluator: dict | list | None) -> None:
    """Looks for metrics whose scores have the same names.

    MMEngine would end at the first validation, or after the whole test.

    Raises:
        ValueError: When there are two.
    """
    seen = []
    for metric in _metrics(evaluator or []):
        kind = _metric_class(metric)
        # Two classes that share a prefix may have scores of other names.
        scores = kind, metric.get('prefix') or getattr(kind, 'default_prefix', None)
        if scores in seen and kind is not None and 'prefix' in _arguments(metric):
            raise ValueError(
                f'two metrics of the evaluator are a {type_name(metric)} with prefix '
                f'{scores[1]!r}; give each a prefix of its own')
        seen.append(scores)


def _metrics(evaluator: dict | list) -> Iterator[dict]:
    """Yields the metrics of one, of a list, or of an `Evaluator`."""
    if isinstance(evaluator, dict):
        if 'metrics' not in evaluator:
            yield evaluator
            return
        evaluator = evaluator['metrics']
    yield from evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]


def _arguments(metric: dict) -> set[str]:
    kind = _metric_class(metric)
    return set() if kind is None else set(inspect.signature(kind).parameters)


def _metric_class(metric: dict) -> type | None:
    kind = metric['type']
    return METRICS.get(kind) if isinstance(kind, str) else kind
