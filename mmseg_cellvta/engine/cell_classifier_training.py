# Copyright (c) CellVTA-MMSeg contributors.
"""A cell classifier from a config and a segmentor's checkpoint, in four steps."""
import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS

from ..datasets.token_cache import TokenCache
from ..models import ReclassifyingSegmentor
from ..utils.configs import build_cell_dataset
from ..utils.files import complete_file
from .token_extraction import extract_tokens, token_key


def train_cell_classifier(cfg: Config, segmentor: str) -> Path:
    """Trains the classifier of a model on the nuclei that its segmentor finds.

    Args:
        cfg: Config whose model is a `ReclassifyingSegmentor` and whose training and
            validation data are `CellTokenDataset`s.
        segmentor: Checkpoint of the segmentor.

    Returns:
        Path of the checkpoint of the whole model.
    """
    model = load_segmentor(cfg.model, segmentor)
    cfg = make_tokens(cfg, model, segmentor)
    best = train_on_tokens(cfg, in_channels=model.cell_classifier.fc1.in_features)
    path = Path(cfg.work_dir) / 'with_classifier.pth'
    save_whole_model(cfg, model, best, path)
    return path


def load_segmentor(model_cfg: dict, path: str) -> ReclassifyingSegmentor:
    """Builds the model with the segmentor's weights and a new classifier."""
    model = MODELS.build(model_cfg).eval()
    weights = read_checkpoint(path)['state_dict']
    weights.update(model.cell_classifier.state_dict(prefix='cell_classifier.'))
    model.load_state_dict(weights)
    return model.to('cuda' if torch.cuda.is_available() else 'cpu')


def read_checkpoint(path: str) -> dict:
    """Reads a checkpoint that this package wrote; MMEngine would also run its code.

    Raises:
        ValueError: The file holds other objects than tensors and plain values, or no
            `state_dict`.
    """
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises many unrelated types
        raise ValueError(
            f'{path}: cannot be read as a file of tensors and plain values only '
            f'({str(error).splitlines()[0]}); give a checkpoint that tools/train.py '
            'wrote with PlainCheckpointHook') from error
    if 'state_dict' not in checkpoint:
        raise ValueError(f'{path}: holds no state_dict; give a checkpoint of '
                         'tools/train.py')
    return checkpoint


def make_tokens(cfg: Config, model: ReclassifyingSegmentor, segmentor: str) -> Config:
    """Returns a config that says where the tokens are, and makes those missing."""
    cfg = copy.deepcopy(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        pictures = loader.dataset.pictures
        key = token_key(segmentor, cfg.model, pictures.pipeline)
        loader.dataset.token_dir = str(Path(cfg.work_dir) / 'tokens' / key)
        extract_tokens(
            model, build_cell_dataset(pictures), TokenCache(loader.dataset.token_dir))
    return cfg


def train_on_tokens(cfg: Config, in_channels: int) -> str:
    """Trains the classifier alone; returns the path of its best checkpoint."""
    cfg = copy.deepcopy(cfg)
    cfg.model = dict(cfg.model.cell_classifier, in_channels=in_channels)
    if cfg.balance_classes:
        nuclei = DATASETS.build(cfg.train_dataloader.dataset)
        cfg.model.class_weight = nuclei.class_weight()
    # The test is on pictures, by the whole model; this runner knows tokens only.
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.message_hub.get_info('best_ckpt')


def save_whole_model(cfg: Config, model: ReclassifyingSegmentor, best: str,
                     path: Path) -> None:
    """Writes the segmentor with the best classifier as one checkpoint."""
    checkpoint = read_checkpoint(best)
    model.cell_classifier.load_state_dict(checkpoint['state_dict'])
    meta = checkpoint['meta'] | dict(cfg=cfg.pretty_text)
    with complete_file(path) as part:
        torch.save(dict(meta=meta, state_dict=model.cpu().state_dict()), part)
