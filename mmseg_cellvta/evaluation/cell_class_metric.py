# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from .functional import class_f1


@METRICS.register_module()
class CellClassMetric(BaseMetric):
    """How well a cell classifier tells the detected nuclei apart.

    Only nuclei that were detected count; `CellInstanceMetric` scores pictures. Figures
    are fractions, 0-1: `macro_F1`, the mean over the classes that occur; `F1_<class>`;
    and `accuracy`.

    Args:
        collect_device (str): ``'cpu'`` or ``'gpu'``, see ``BaseMetric``.
        prefix (str, optional): Prefix of the metric names. Default: ``'cell'``.
        **kwargs: Further arguments of ``BaseMetric``.
    """

    default_prefix = 'cell'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the ``gt_label`` and ``pred_label`` of each nucleus."""
        self.results += [
            (nucleus['gt_label'], nucleus['pred_label']) for nucleus in data_samples]

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Turn the pairs of all nuclei into figures."""
        true, pred = np.array(results, dtype=np.int64).T
        names = self.dataset_meta['classes']
        by_class = class_f1(true, pred, len(names))
        scores = zip(names[1:], by_class.tolist(), strict=True)
        return dict(
            macro_F1=float(np.nanmean(by_class)),
            accuracy=float((true == pred).mean()),
            **{f'F1_{name}': score for name, score in scores})
