# Copyright (c) CellVTA-MMSeg contributors.
"""What `--tta` of `tools/test.py` changes in a config."""
import copy
from collections.abc import Iterator

from mmengine.config import Config
from mmseg.registry import MODELS

from ..models.segmentors import CellSegmentor
from .configs import inner_configs
from .type_names import type_name

# Transforms that move pixels without saying how, so that no map can be moved back.
MOVING = {
    'CellRandomAffine', 'CellRandomRotate90', 'CellRandomSizedCrop', 'CenterCrop',
    'RandomAffine', 'RandomCrop', 'RandomRotFlip', 'RandomRotate', 'RandomTile'
}

FLIP, LABELS = 'RandomFlip', 'LoadCellAnnotations'


def enable_tta(cfg: Config) -> None:
    """Tests by the config's `tta_pipeline` and `tta_model`, whatever wraps the data.

    Raises:
        ValueError: When the config lacks one of them, its `tta_model` knows no nuclei,
            or maps and labels of a view would not lie where those of the image do.
    """
    for name in ('test_dataloader', 'tta_pipeline', 'tta_model'):
        if cfg.get(name) is None:
            raise ValueError(f'--tta needs {name} in the config, as in '
                             'configs/_base_/datasets/custom.py')
    kind = cfg.model.type
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    finds_nuclei = isinstance(kind, type) and issubclass(kind, CellSegmentor)
    if finds_nuclei and type_name(cfg.tta_model) == 'SegTTAModel':
        raise ValueError('--tta: SegTTAModel averages class maps and finds no nuclei; '
                         "set tta_model=dict(type='CellTTAModel')")
    steps = [type_name(step) for step in _transforms(cfg.tta_pipeline)]
    for step in steps:
        if step in MOVING:
            raise ValueError(f'--tta: {step} in tta_pipeline moves pixels, and maps '
                             'cannot be moved back; use RandomFlip')
    if LABELS in steps and FLIP in steps[steps.index(LABELS):]:
        raise ValueError(
            f'--tta: {FLIP} comes after {LABELS} in tta_pipeline and would turn the '
            f'labels, while maps are turned back; put {LABELS} after it')
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
