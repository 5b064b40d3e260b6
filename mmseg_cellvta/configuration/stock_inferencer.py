# Copyright (c) CellVTA-MMSeg contributors.
"""MMSegmentation's `MMSegInferencer` knows one loader; pipelines here have another.

It takes the pipeline of `test_dataloader` and turns its `LoadImageFromFile` into a
loader of paths and arrays. Such a step is put before `LoadCellImage`, which reads the
file again, as everywhere here. Data sets do without the step.
"""
from collections.abc import Sequence

from .type_names import type_name

STOCK_LOADER, OWN_LOADER = 'LoadImageFromFile', 'LoadCellImage'


def add_stock_loader(cfg: dict) -> None:
    """Puts the loader before that of the test pipeline.

    Args:
        cfg: A whole config; its data set gets a new pipeline, a `ConcatDataset` that
            of its first part.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    part = dataset
    while part.get('datasets'):
        part = part['datasets'][0]
    pipeline = without_stock_loader(part.get('pipeline') or [])
    if not pipeline or type_name(pipeline[0]) != OWN_LOADER:
        return
    pipeline = [dict(type=STOCK_LOADER), *pipeline]
    if part is dataset:
        dataset['pipeline'] = pipeline
    else:  # no key: a ConcatDataset that is built from this takes no such argument
        object.__setattr__(dataset, 'pipeline', pipeline)


def without_stock_loader(pipeline: Sequence[dict]) -> Sequence[dict]:
    """Returns a pipeline as it was before `add_stock_loader`."""
    added = len(pipeline) > 1 and [type_name(step) for step in pipeline[:2]] == [
        STOCK_LOADER, OWN_LOADER]
    return pipeline[1:] if added else pipeline
