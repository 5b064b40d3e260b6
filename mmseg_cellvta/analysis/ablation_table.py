# Copyright (c) CellVTA-MMSeg contributors.
"""The table of an ablation: one line an entry, over its seeds."""
from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence

METRICS = ('bPQ', 'mPQ', 'F1_det')
# Column, figure of a result, unit by which it is divided, decimals.
COSTS: tuple[tuple[str, Callable[[dict], float], float, int], ...] = (
    ('parameters (M)', lambda r: r['cost']['params'], 1e6, 3),
    ('trained (M)', lambda r: r['cost']['trainable_params'], 1e6, 3),
    ('GMACs', lambda r: r['cost']['macs'], 1e9, 2),
    ('ms per picture', lambda r: r['cost']['forward_s'], 1e-3, 1),
    ('training step (ms)', lambda r: r['cost']['train_step_s'], 1e-3, 1),
    ('peak memory of a step (MiB)', lambda r: r['cost']['train_mib'], 1, 0),
    ('training (min)', lambda r: r['train_s'], 60, 1),
)


class AblationTable:
    """Results of the runs of an ablation, by entry.

    Args:
        planned (dict[str, int]): Number of seeds of each entry, in order.
    """

    def __init__(self, planned: dict[str, int]) -> None:
        self.planned = planned
        self.results: dict[str, list[dict]] = {name: [] for name in planned}
        self.failures: list[tuple[str, str]] = []

    def add(self, result: dict) -> None:
        """Add what ``AblationRunner.run`` has returned."""
        self.results[result['name']].append(result)

    def add_failure(self, run: str, reason: str) -> None:
        """Add a run that failed, with the last lines of its log."""
        self.failures.append((run, reason))

    def to_csv(self) -> str:
        """One line an entry, with all digits; empty where nothing is known."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        spread = [name for metric in METRICS for name in (metric, f'{metric} sd')]
        writer.writerow(['entry', 'seeds done', 'seeds', *spread,
                         *(column for column, *_ in COSTS)])
        for name, results in self.results.items():
            figures = [figure for metric in METRICS
                       for figure in _mean_and_sd(results, metric)]
            figures += [_median(results, get) / unit for _, get, unit, _ in COSTS]
            writer.writerow([name, len(results), self.planned[name], *(
                '' if math.isnan(figure) else repr(figure) for figure in figures)])
        return text.getvalue()

    def to_markdown(self) -> str:
        """The table, what its columns are, and the runs that failed."""
        head = ['entry', 'seeds', *METRICS, *(column for column, *_ in COSTS)]
        lines = [_line(head), '|---|' + '---:|' * (len(head) - 1)]
        for name, results in self.results.items():
            costs = [_text(_median(results, get) / unit, digits)
                     for _, get, unit, digits in COSTS]
            lines.append(_line([
                name, f'{len(results)}/{self.planned[name]}',
                *(_with_spread(*_mean_and_sd(results, metric)) for metric in METRICS),
                *costs]))
        lines += ['', 'Metrics: fractions, mean ± standard deviation over the seeds '
                  '(n - 1). Costs: medians over the seeds; one picture of 256 x 256 px '
                  'through the network alone; training: wall time of all attempts.']
        for run, reason in self.failures:
            lines += ['', f'Failed: {run}', '', '```', reason, '```']
        return '\n'.join(lines) + '\n'


def _mean_and_sd(results: Sequence[dict], metric: str) -> tuple[float, float]:
    """NaN where there is nothing, or only one value to spread."""
    # null in a result file: the figure is not defined on these data.
    values = [result['metrics'].get(metric) for result in results]
    values = [value for value in values if value is not None and not math.isnan(value)]
    return (statistics.mean(values) if values else math.nan,
            statistics.stdev(values) if len(values) > 1 else math.nan)


def _median(results: Sequence[dict], get: Callable[[dict], float]) -> float:
    values = [get(result) for result in results]
    return statistics.median(values) if values else math.nan


def _with_spread(mean: float, sd: float) -> str:
    return _text(mean, 3) + ('' if math.isnan(sd) else f' ± {sd:.3f}')


def _text(value: float, digits: int) -> str:
    return '–' if math.isnan(value) else f'{value:.{digits}f}'


def _line(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'
