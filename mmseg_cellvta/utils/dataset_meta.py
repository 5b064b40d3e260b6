# Copyright (c) CellVTA-MMSeg contributors.
"""Class names and colours that a checkpoint or a config names, checked before use."""
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.logging import print_log

from ..conversion.class_list import make_palette
from .checkpoints import read_meta
from .plain_loading import CheckpointError


def read_dataset_meta(checkpoint: dict) -> dict | None:
    """Returns what a checkpoint says of its data set; None if it names no classes."""
    meta = read_meta(checkpoint).get('dataset_meta')
    return meta if isinstance(meta, dict) and meta.get('classes') is not None else None


def check_dataset_meta(meta: Mapping, num_classes: int, where: str) -> dict:
    """Checks what results will be named by.

    Args:
        meta: Has `classes` and perhaps `palette`, RGB 0-255.
        num_classes: Classes that the model predicts, background included.
        where: The file, for errors.

    Returns:
        `meta` with `classes` as a tuple of different texts, and `palette` as a list of
        as many [red, green, blue]. Where there is no such palette, one is made.

    Raises:
        CheckpointError: When the names cannot be those of the model's classes.
    """
    classes = meta['classes']
    if isinstance(classes, np.ndarray):
        classes = classes.tolist()
    fault = _find_fault(classes, num_classes)
    if fault is not None:
        raise CheckpointError(
            f'{where}: dataset_meta names {fault}, but the model predicts {num_classes}'
            ' classes with background, each with a name of its own; give the config of '
            'its training, or correct the file')
    palette = _read_palette(meta.get('palette'), num_classes)
    if palette is None:
        print_log(f'{where}: no palette of {num_classes} RGB colours of 0-255; colours '
                  'are chosen', logger='current', level=logging.WARNING)
        palette = make_palette(num_classes)
    return {**meta, 'classes': tuple(map(str, classes)), 'palette': palette}


def _find_fault(classes: Any, num_classes: int) -> str | None:
    if not isinstance(classes, (list, tuple)):
        return f'its classes as {classes!r}'
    strange = [name for name in classes
               if not (isinstance(name, str) and name.strip())]
    if strange:
        return f'a class {strange[0]!r}'
    if len(classes) != num_classes:
        return f'{len(classes)} classes ({", ".join(classes)})'
    twice = [name for name, count in Counter(classes).items() if count > 1]
    return f'a class {twice[0]!r} twice' if twice else None


def _read_palette(palette: Any, num_classes: int) -> list[list[int]] | None:
    """Returns C colours as whole numbers; None where they are something else."""
    try:
        colors = np.array(palette, dtype=np.float64)
    except (TypeError, ValueError):  # no numbers, or rows of different lengths
        return None
    fits = (colors.shape == (num_classes, 3) and (colors == colors.round()).all()
            and colors.min() >= 0 and colors.max() <= 255)
    return colors.astype(int).tolist() if fits else None
