# Copyright (c) CellVTA-MMSeg contributors.
"""The results of several test runs beside published ones, as the papers print them."""
from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = 'cell/'
PUBLISHED = Path(__file__).with_name('published.json')
IMAGES, TISSUES = 'mean over images', 'mean over tissues'
POOLED = 'pooled over the data set'
# Name and averaging of the figures that stand for all nuclei.
FIGURES = dict(
    mPQ=IMAGES, mPQ_tissue=TISSUES, mPQ_plus=POOLED, mDQ=IMAGES, mSQ=IMAGES,
    bPQ=IMAGES, bPQ_tissue=TISSUES, bDQ=IMAGES, bSQ=IMAGES, Dice=IMAGES, AJI=IMAGES,
    F1_det=POOLED, precision_det=POOLED, recall_det=POOLED)
NO_CLASS = ('PQ_conic', 'F1_det')


@dataclass(frozen=True)
class Published:
    """Figures of a method that others have published.

    Attributes:
        source (str): Where they are from.
        figures (dict[str, str]): Figures by metric name, in the digits of the source.
        remarks (dict[str, str]): What makes figures differ from ours of that name.
        splits (dict[str, list[str]]): What the figures are the mean of, split by split.
    """
    source: str
    figures: dict[str, str]
    remarks: dict[str, str] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A line of the table: one figure, or several that belong together.

    Attributes:
        label (str): What it is of, such as 'mPQ' or the name of a class.
        names (tuple[str, ...]): Names of the figures.
        averaging (tuple[str, ...]): How each of them is averaged.
    """
    label: str
    names: tuple[str, ...]
    averaging: tuple[str, ...]


def read_published(data_set: str) -> dict[str, Published]:
    """Published figures of 'pannuke' or 'conic', by method."""
    # Text: 0.530 must not be printed as 0.53, nor 0.516 as 0.5160.
    content = json.loads(PUBLISHED.read_text(encoding='utf-8'), parse_float=str)
    return {name: Published(**column) for name, column in content[data_set].items()}


def read_metrics(path: str | Path) -> dict[str, float]:
    """Read a ``metrics.json``.

    Returns:
        dict[str, float]: Figures, 0-1, without prefix; NaN for null.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    if not isinstance(content, dict) or not any(
            name.startswith(PREFIX) for name in content):
        raise ValueError(f'{path}: holds no {PREFIX}<name>; expected the metrics.json '
                         'of tools/test.py --out or of eval_instances.py --out')
    figures = {}
    for name, value in content.items():
        if not name.startswith(PREFIX):
            continue
        if value is not None and (isinstance(value, bool)
                                  or not isinstance(value, int | float)):
            raise ValueError(f'{path}: {name} is {value!r}; expected a number')
        figures[name.removeprefix(PREFIX)] = math.nan if value is None else value
    return figures


class FoldTable:
    """Figures of several test runs, their mean, and published ones.

    Args:
        paths (Sequence[str | Path]): The ``metrics.json`` of each run.
        published (dict[str, Published], optional): Columns for comparison.

    Attributes:
        folds (list[dict[str, float]]): Figures of each run.
        rows (dict[str, list[Row]]): Lines by section.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or the files are of different classes.
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
        """Heads of the columns that hold figures."""
        return [*(f'fold {number}' for number, _ in enumerate(self.paths, 1)), 'mean',
                *self.published]

    def cells(self, name: str, digits: int | None) -> list[str]:
        """A figure in every column, as text; '' where it is not known.

        The mean is left empty unless every fold has the figure.

        Args:
            name (str): Metric name.
            digits (int, optional): Decimals of our own figures, None for all.
        """
        values = [fold.get(name, math.nan) for fold in self.folds]
        values.append(sum(values) / len(values))
        texts = ['' if math.isnan(value) else
                 repr(float(value)) if digits is None else f'{value:.{digits}f}'
                 for value in values]
        return texts + [
            method.figures.get(name, '') for method in self.published.values()]

    def to_csv(self) -> str:
        """One figure a line, with all digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(['figure', 'averaging', *self.columns])
        for rows in self.rows.values():
            for row in rows:
                for name, averaging in zip(row.names, row.averaging, strict=True):
                    writer.writerow([name, averaging, *self.cells(name, None)])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Tables for all nuclei, classes and tissues, and where figures are from."""
        lines = []
        for section, rows in self.rows.items():
            if not rows:
                continue
            lines += [_line([section, 'averaging', *self.columns]),
                      _line(['---', '---', *['---:'] * len(self.columns)])]
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
        return _line([row.label, ' / '.join(dict.fromkeys(row.averaging)), *joined])

    def _classes(self) -> list[str]:
        """Class names, which must be those of every file, in their order."""
        listed = [[name[3:] for name in fold
                   if name.startswith('PQ_') and name not in NO_CLASS]
                  for fold in self.folds]
        for path, classes in zip(self.paths, listed, strict=True):
            if classes != listed[0]:
                raise ValueError(
                    f'{path}: has the classes {", ".join(classes) or "(none)"}, but '
                    f'{self.paths[0]} {", ".join(listed[0]) or "(none)"}; folds of one '
                    'data set have the same')
        return listed[0]


def _line(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'
