# Copyright (c) CellVTA-MMSeg contributors.
"""A cell classifier from a config and a segmentor's checkpoint, in four steps.

The segmentor is loaded, it describes the labelled nuclei by tokens, the classifier is
trained on these, and both are written as one checkpoint.
"""
import copy
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmseg.registry import DATASETS, MODELS
from torch.utils.data import Dataset

from ..configuration.configs import build_cell_dataset
from ..datasets.cell_dataset import CellDataset
from ..evaluation.cell_instance_metric import RADIUS_UM
from ..evaluation.functional import (
    instance_centroids,
    instance_classes,
    match_centroids,
)
from ..models import ReclassifyingSegmentor
from ..utils.checkpoints import load_weights, read_checkpoint
from ..utils.dataset_meta import check_dataset_meta, read_dataset_meta
from ..utils.files import complete_file, settings_digest


def train_cell_classifier(cfg: Config, segmentor: str, trust: bool = False) -> Path:
    """Trains the classifier of a model on the nuclei that its segmentor finds.

    Args:
        cfg: Config whose model is a `ReclassifyingSegmentor` and whose training and
            validation data are `CellTokenDataset`s.
        segmentor: Checkpoint of the segmentor.
        trust: Read objects besides tensors from it, which can run any code.

    Returns:
        Path of the checkpoint of the whole model.

    Raises:
        CheckpointError: When the checkpoint does not fit the config, or holds objects.
    """
    model = load_segmentor(cfg.model, segmentor, trust)
    cfg = make_tokens(cfg, model, segmentor)
    best = train_on_tokens(cfg, in_channels=model.cell_classifier.fc1.in_features)
    path = Path(cfg.work_dir) / 'with_classifier.pth'
    save_whole_model(cfg, model, best, path)
    return path


def load_segmentor(model_cfg: dict, path: str,
                   trust: bool = False) -> ReclassifyingSegmentor:
    """Builds the model with the segmentor's weights and a new classifier.

    Raises:
        CheckpointError: When the checkpoint does not fit the config, or holds objects.
    """
    model = MODELS.build(model_cfg).eval()
    checkpoint = read_checkpoint(path, trust)
    weights, meta = checkpoint['state_dict'], read_dataset_meta(checkpoint)
    # The classes of a whole model are those of its classifier.
    if meta is not None and 'cell_classifier.fc1.weight' not in weights:
        check_dataset_meta(meta, model.num_classes, path)
    weights.update(model.cell_classifier.state_dict(prefix='cell_classifier.'))
    load_weights(model, checkpoint, path)
    return model.to(get_device())


def make_tokens(cfg: Config, model: ReclassifyingSegmentor, segmentor: str) -> Config:
    """Makes the tokens that are missing; returns a config that says where all are."""
    cfg = copy.deepcopy(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        images = loader.dataset.images
        key = token_key(segmentor, cfg.model, images.pipeline)
        loader.dataset.token_dir = str(Path(cfg.work_dir) / 'tokens' / key)
        extract_tokens(
            model, build_cell_dataset(images), TokenCache(loader.dataset.token_dir))
    return cfg


def token_key(checkpoint: str | Path, model: dict, pipeline: list[dict]) -> str:
    """Returns 16 hex digits that stand for all that tokens depend on but the images.

    Args:
        checkpoint: File of the segmentor.
        model: Config of the model; that of its classifier does not count.
        pipeline: Config of the test pipeline.
    """
    model = {key: part for key, part in model.items() if key != 'cell_classifier'}
    # `default`: pure Python configs have classes in place of names.
    settings = json.dumps([model, pipeline], sort_keys=True, default=str)
    digest = hashlib.sha256(settings.encode())
    with open(checkpoint, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


class TokenCache:
    """Tokens and classes of labelled nuclei on disk, a `.npz` file per image.

    An image is found again as long as its entry in the data set, its file and its label
    file stay as they are. `token_key` names the folder after all else that matters.

    Args:
        folder: Folder of the files; made when the first one is saved.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def path(self, entry: dict) -> Path:
        """Returns the file of an image.

        Args:
            entry: Its entry in the data list, with `sample_name`, `img_path` and
                `label_path`.
        """
        files = [os.stat(entry[key]) for key in ('img_path', 'label_path')]
        state = [(file.st_size, file.st_mtime_ns) for file in files]
        digest = settings_digest([entry, state], digits=12)
        return self.folder / f'{entry["sample_name"]}-{digest}.npz'

    def __contains__(self, entry: dict) -> bool:
        return self.path(entry).is_file()

    def save(self, entry: dict, tokens: np.ndarray, labels: np.ndarray) -> None:
        """Keeps an image's tokens, (N, D) float32, and classes, (N,) int64 1..C-1."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with complete_file(self.path(entry)) as part:
            np.savez(part, tokens=tokens, labels=labels)

    def load(self, entry: dict) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `save` wrote."""
        with np.load(self.path(entry), allow_pickle=False) as file:
            return file['tokens'], file['labels']


def extract_tokens(model: ReclassifyingSegmentor, dataset: CellDataset,
                   cache: TokenCache) -> None:
    """Runs the segmentor over the images whose tokens the cache does not hold yet.

    Args:
        model: In eval mode; its classifier does not matter.
        dataset: Labelled images with a test pipeline.
        cache: Receives the tokens, image by image.
    """
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    missing = [index for index, entry in enumerate(entries) if entry not in cache]
    for done, index in enumerate(missing, start=1):
        sample = dataset[index]
        with torch.no_grad():
            result, = model.test_step(
                {key: [value] for key, value in sample.items()})
        labelled, labels = label_nuclei(
            result.pred_instances, result.gt_inst_map.data[0].cpu().numpy(),
            result.gt_sem_seg.data[0].cpu().numpy(), RADIUS_UM / entries[index]['mpp'])
        cache.save(
            entries[index], result.pred_instances.embeddings[labelled], labels)
        print_log(
            f'tokens [{done}/{len(missing)}] {entries[index]["sample_name"]}: '
            f'{len(labels)} of {len(result.pred_instances)} detected nuclei are '
            'labelled ones', logger='current')


def label_nuclei(instances: InstanceData, true_map: np.ndarray, class_map: np.ndarray,
                 radius_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Gives detected nuclei the class of the true nucleus that they are paired with.

    They are paired as `CellInstanceMetric` pairs them, so that the classifier learns
    from the nuclei whose class is scored. Other detections are left out.

    Args:
        instances: N detected nuclei with `centroids`, x, y px.
        true_map: (H, W) integer instance ids, 0 background.
        class_map: (H, W) integer class ids.
        radius_px: Largest distance of the centroids of a pair, px.

    Returns:
        Rows (M,) of the nuclei that are labelled, and their classes (M,) 1..C-1.
    """
    ids = np.unique(true_map[true_map > 0])
    classes, _ = instance_classes(true_map, class_map)
    paired, rows = match_centroids(
        instance_centroids(true_map, ids), instances.centroids, radius_px)
    return rows, classes[paired]


@DATASETS.register_module()
class CellTokenDataset(Dataset):
    """The detected nuclei of labelled images, as tokens in memory.

    A sample is `tokens`, float32 (D,), and `labels`, its class 1..C-1.
    `tools/train_cell_classifier.py` makes the files.

    Args:
        images: Config of the data set of the images.
        token_dir: Folder of a `TokenCache`.

    Raises:
        ValueError: When there is no `token_dir`, or not a single nucleus.
        FileNotFoundError: When the tokens of an image are missing.
    """

    def __init__(self, images: dict, token_dir: str | None = None) -> None:
        if token_dir is None:
            raise ValueError('token_dir=None: a cell classifier is trained with '
                             'tools/train_cell_classifier.py, which makes the tokens')
        dataset = build_cell_dataset(images)
        cache = TokenCache(token_dir)
        self.metainfo = dataset.metainfo
        parts = [cache.load(dataset.get_data_info(i)) for i in range(len(dataset))]
        self.tokens, self.labels = map(np.concatenate, zip(*parts, strict=True))
        if not len(self):
            raise ValueError(
                f'{token_dir}: in {len(dataset)} images no detected nucleus is a '
                'labelled one; check the segmentor with tools/test.py')

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return dict(tokens=self.tokens[index], labels=self.labels[index])

    def class_weight(self) -> list[float]:
        """Returns weights of the classes 1..C-1 that make all count the same in a loss.

        N / (K n) for a class with n of the N nuclei, where K classes occur; 0 for one
        that does not.
        """
        counts = np.bincount(self.labels, minlength=len(self.metainfo['classes']))[1:]
        weights = len(self) / np.count_nonzero(counts) / np.maximum(counts, 1)
        return np.where(counts > 0, weights, 0).tolist()


def train_on_tokens(cfg: Config, in_channels: int) -> str:
    """Trains the classifier alone; returns the path of its best checkpoint."""
    cfg = copy.deepcopy(cfg)
    cfg.model = dict(cfg.model.cell_classifier, in_channels=in_channels)
    if cfg.balance_classes:
        nuclei = DATASETS.build(cfg.train_dataloader.dataset)
        cfg.model.class_weight = nuclei.class_weight()
    # The whole model is tested, on images; this runner knows only tokens.
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
