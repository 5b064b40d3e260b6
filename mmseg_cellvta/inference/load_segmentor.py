# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmseg.apis import init_model
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import DATASETS

from ..utils.checkpoints import check_normalization


def load_segmentor(cfg: Config, weights: str | Path, device: str) -> EncoderDecoder:
    """Build a model and load all of its weights.

    MMSegmentation's own way leaves weights that do not fit at random values, and takes
    the classes of another data set where a checkpoint names none.

    Args:
        cfg (Config): Its `model`, and the data set of its `test_dataloader`.
        weights (str | Path): Checkpoint, of our training or converted.
        device (str): Such as 'cuda:0'.

    Returns:
        EncoderDecoder: In eval mode; its `dataset_meta` has `classes` and `palette`.

    Raises:
        ValueError: If the checkpoint does not fit the config.
    """
    model = init_model(cfg, device=device)
    try:
        checkpoint = load_checkpoint(
            model, str(weights), map_location='cpu', strict=True)
        check_normalization(model, checkpoint)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f'{weights} does not fit the config; give the config of its training: '
            f'{error}') from error
    model.dataset_meta = checkpoint.get('meta', {}).get('dataset_meta')
    if model.dataset_meta is None:  # of converted checkpoints
        model.dataset_meta = _config_meta(cfg, model.out_channels - 4)
    return model


def _config_meta(cfg: Config, num_classes: int) -> dict:
    """Classes and palette of the data set that a config tests on.

    Args:
        cfg (Config): The config.
        num_classes (int): Classes of the model, background included.
    """
    dataset = cfg.test_dataloader.dataset
    meta = {**DATASETS.get(dataset.type).METAINFO, **dataset.get('metainfo', {})}
    classes = meta.get('classes', ())
    if len(classes) != num_classes:
        raise ValueError(
            f'the checkpoint names no classes, and test_dataloader.dataset of the '
            f'config has {len(classes)}; expected {num_classes}, background included: '
            'set its metainfo to dict(classes=..., palette=...)')
    return meta
