# Copyright (c) CellVTA-MMSeg contributors.
"""Classes that two data sets share, so that a model of one is scored on the other."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

IGNORE = 'ignore'


class ClassMapping:
    """Brings predicted and true classes to the classes that both can tell apart.

    A class that either side ignores, or that the other side never becomes, is left out
    on both: its nuclei become class 0, which counts for the figures without class only.
    So a nucleus that is left out in the truth and predicted as a shared class is a
    false positive of that class; a shared one predicted as a left-out class is missed.

    Args:
        pred_classes (Sequence[str]): Class names of the model, background first.
        true_classes (Sequence[str]): Class names of the data set, background first.
        pred_map (Mapping[str, str]): Shared class, or ``'ignore'``, of each class of
            the model but the background.
        true_map (Mapping[str, str]): The same of the data set.

    Attributes:
        names (list[str]): Shared classes, in the order of ``true_map``; the first one
            has id 1.

    Raises:
        ValueError: If a map names a class that does not exist, or leaves one out, or if
            nothing is shared.
    """

    def __init__(self, pred_classes: Sequence[str], true_classes: Sequence[str],
                 pred_map: Mapping[str, str], true_map: Mapping[str, str]) -> None:
        _check_map('pred_map', pred_map, pred_classes[1:])
        _check_map('true_map', true_map, true_classes[1:])
        shared = set(pred_map.values()) & set(true_map.values()) - {IGNORE}
        self.names = list(dict.fromkeys(
            name for name in true_map.values() if name in shared))
        if not self.names:
            raise ValueError(
                f'pred_map leads to {sorted(set(pred_map.values()))}, true_map to '
                f'{sorted(set(true_map.values()))}: no class is in both')
        self._pred_ids = self._table(pred_classes, pred_map)
        self._true_ids = self._table(true_classes, true_map)

    def map_pred(self, class_ids: np.ndarray) -> np.ndarray:
        """Shared class ids of predicted nuclei, integer (N,), 0 for left out."""
        return self._pred_ids[class_ids]

    def map_true(self, class_ids: np.ndarray) -> np.ndarray:
        """Shared class ids of true nuclei, integer (N,), 0 for left out."""
        return self._true_ids[class_ids]

    def _table(self, classes: Sequence[str], names: Mapping[str, str]) -> np.ndarray:
        ids = {name: index for index, name in enumerate(self.names, 1)}
        return np.array([0] + [ids.get(names[name], 0) for name in classes[1:]])


def _check_map(role: str, mapping: Mapping[str, str], classes: Sequence[str]) -> None:
    unknown = [name for name in mapping if name not in classes]
    missing = [name for name in classes if name not in mapping]
    if unknown or missing:
        raise ValueError(
            f'{role}: unknown classes {unknown}, missing classes {missing}; expected '
            f'each of {list(classes)} once, with a shared class or {IGNORE!r}')
