# Copyright (c) CellVTA-MMSeg contributors.
"""The table of a paper: results of several test runs beside published ones."""
import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..utils.files import read_json

PREFIX = 'cell/'
PUBLISHED = Path(__file__).with_name('published.json')
IMAGES, TISSUES = 'mean over images', 'mean over tissues'
POOLED = 'pooled over the data set'
# Name and averaging of the figures over all nuclei.
FIGURES = dict(
    mPQ=IMAGES, mPQ_tissue=TISSUES, mPQ_plus=POOLED, mDQ=IMAGES, mSQ=IMAGES,
    bPQ=IMAGES, bPQ_tissue=TISSUES, bDQ=IMAGES, bSQ=IMAGES, Dice=IMAGES, AJI=IMAGES,
    F1_det=POOLED, precision_det=POOLED, recall_det=POOLED)


@dataclass(frozen=True)
class Published:
    """Published figures of a method.

    Attributes:
        source: The publication or log they come from.
        figures: Figures by metric name, in the digits of the source.
        remarks: How figures differ from ours of that name, by metric name.
        splits: Figures of the single splits whose mean is in `figures`, by metric name.
    """
    source: str
    figures: dict[str, str]
    remarks: dict[str, str] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A line of the table: one figure, or several that belong together.

    Attributes:
        label: First cell, such as 'mPQ' or the name of a class.
        names: Metric names of the figures.
        averaging: How each of them is averaged.
    """
    label: str
    names: tuple[str, ...]
    averaging: tuple[str, ...]


def read_published(data_set: str) -> dict[str, Published]:
    """Reads the published figures of 'pannuke' or 'conic', by method."""
    # Text: 0.530 must not be printed as 0.53, nor 0.516 as 0.5160.
    content = json.loads(PUBLISHED.read_text(encoding='utf-8'), parse_float=str)
    return {name: Published(**column) for name, column in content[data_set].items()}


def read_metrics(path: str | Path) -> dict[str, float]:
    """Reads a `metrics.json`.

    Returns:
        Figures by name without prefix, 0-1; NaN for null.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it holds something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file')
    content = read_json(path)
    if not isinstance(content, dict) or not any(
            name.startswith(PREFIX) for name in content):
        raise ValueError(f'{path}: holds no {PREFIX}<name>; expected the metrics.json '
                         'of tools/test.py --out or of eval_instances.py --out')
    figures = {}
    for name, value in content.items():
        if not name.startswith(PREFIX):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError(f'{path}: {name} is {value!r}; expected a number')
        figures[name.removeprefix(PREFIX)] = math.nan if value is None else value
    return figures


def markdown_row(cells: Sequence[str]) -> str:
    """Returns a line of a Markdown table."""
    return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'


class FoldTable:
    """Figures of several test runs, their mean, and published ones.

    Args:
        paths: The `metrics.json` of each run.
        published: Columns for comparison, by method.

    Attributes:
        folds: Figures of each run.
        rows: Lines of the table, by section.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file is damaged, or the files are of different classes.
    """

    def __init__(self, paths: Sequence[str | Path],
                 published: dict[str, Published] | None = None) -> None:
        self.paths = [str(path) for path in paths]
        self.published = published or {}
        self.folds = [read_metrics(path) for path in paths]
        classes = self._classes()
        tissues = sorted({name.removeprefix('mPQ_tissue_') for fold in self.folds
                          for name in fold if name.startswith('mPQ_tissue_')})
        known = set().union(*self.folds, *(
            method.figures for method in self.published.values()))
        self.rows = {
            'All nuclei': [Row(name, (name, ), (averaging, ))
                           for name, averaging in FIGURES.items() if name in known],
            'Classes: PQ / F1': [
                Row(name, (f'PQ_{name}', f'F1_{name}'),
                    ('mean over images with the class', POOLED)) for name in classes],
            'Tissues: mPQ / bPQ': [
                Row(name, (f'mPQ_tissue_{name}', f'bPQ_tissue_{name}'),
                    ('mean over images of the tissue', ) * 2) for name in tissues]}

    @property
    def columns(self) -> list[str]:
        """Names of the columns that hold figures."""
        return [*(f'fold {number}' for number, _ in enumerate(self.paths, 1)), 'mean',
                *self.published]

    def cells(self, name: str, digits: int | None) -> list[str]:
        """Returns a figure in every column, as text; '' where it is not known.

        The mean is left empty unless every fold has the figure.

        Args:
            name: Metric name.
            digits: Decimals of our own figures, None for all.
        """
        values = [fold.get(name, math.nan) for fold in self.folds]
        values.append(sum(values) / len(values))
        texts = ['' if math.isnan(value) else
                 repr(float(value)) if digits is None else f'{value:.{digits}f}'
                 for value in values]
        return texts + [
            method.figures.get(name, '') for method in self.published.values()]

    def to_csv(self) -> str:
        """Returns one figure per line, with all digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(['figure', 'averaging', *self.columns])
        for rows in self.rows.values():
            for row in rows:
                for name, averaging in zip(row.names, row.averaging, strict=True):
                    writer.writerow([name, averaging, *self.cells(name, None)])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Returns tables for all nuclei, classes and tissues, and their sources."""
        lines = []
        for section, rows in self.rows.items():
            if not rows:
                continue
            lines += [markdown_row([section, 'averaging', *self.columns]),
                      markdown_row(['---', '---', *['---:'] * len(self.columns)])]
            lines += [self._markdown_row(row) for row in rows]
            lines.append('')
        lines += [f'- fold {number}: {path}'
                  for number, path in enumerate(self.paths, 1)]
        for name, method in self.published.items():
            lines.append(f'- {name}: {method.source}')
            lines += [f'- {name}, {figure}: {remark}'
                      for figure, remark in method.remarks.items()]
        return '\n'.join(lines) + '\n'

    def _markdown_row(self, row: Row) -> str:
        by_figure = [self.cells(name, 4) for name in row.names]
        joined = [' / '.join(cell or '–' for cell in cells) if any(cells) else ''
                  for cells in zip(*by_figure, strict=True)]
        averaging = ' / '.join(dict.fromkeys(row.averaging))
        return markdown_row([row.label, averaging, *joined])

    def _classes(self) -> list[str]:
        """Returns the class names in their order; every file must have the same."""
        listed = [[name.removeprefix('PQ_') for name in fold
                   if name.startswith('PQ_') and name != 'PQ_conic']
                  for fold in self.folds]
        for path, classes in zip(self.paths, listed, strict=True):
            if classes != listed[0]:
                raise ValueError(
                    f'{path}: has the classes {", ".join(classes) or "(none)"}, but '
                    f'{self.paths[0]} {", ".join(listed[0]) or "(none)"}; folds of one '
                    'data set have the same')
        return listed[0]
