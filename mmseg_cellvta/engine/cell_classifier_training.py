# Copyright (c) CellVTA-MMSeg contributors.
"""A cell classifier from a config and a segmentor's checkpoint, in four steps."""
import copy
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmseg.registry import DATASETS, MODELS
from torch.utils.data import Dataset

from ..datasets.cell_dataset import CellDataset
from ..evaluation.cell_instance_metric import RADIUS_UM
from ..evaluation.functional import (
    instance_centroids,
    instance_classes,
    match_centroids,
)
from ..models import ReclassifyingSegmentor
from ..utils.configs import build_cell_dataset
from ..utils.files import complete_file, settings_digest


class TokenCache:
    """Tokens and classes of labelled nuclei on disk, a ``.npz`` file per picture.

    A picture is found again as long as its entry in the data set, its file and its
    label file stay as they are; what made the tokens is the business of the folder's
    name.

    Args:
        folder (str | os.PathLike): Where the files are; made when the first is saved.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def path(self, entry: dict) -> Path:
        """File of a picture.

        Args:
            entry (dict): Its entry in the data list, with ``sample_name``,
                ``img_path`` and ``label_path``.
        """
        files = [os.stat(entry[key]) for key in ('img_path', 'label_path')]
        state = [(file.st_size, file.st_mtime_ns) for file in files]
        digest = settings_digest([entry, state], digits=12)
        return self.folder / f'{entry["sample_name"]}-{digest}.npz'

    def __contains__(self, entry: dict) -> bool:
        return self.path(entry).is_file()

    def save(self, entry: dict, tokens: np.ndarray, labels: np.ndarray) -> None:
        """Keep a picture's tokens, (N, D) float32, and classes, (N,) int64 1..C-1."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with complete_file(self.path(entry)) as part:
            np.savez(part, tokens=tokens, labels=labels)

    def load(self, entry: dict) -> tuple[np.ndarray, np.ndarray]:
        """Read what `save` wrote."""
        with np.load(self.path(entry), allow_pickle=False) as file:
            return file['tokens'], file['labels']


@DATASETS.register_module()
class CellTokenDataset(Dataset):
    """The detected nuclei of labelled pictures, as tokens in memory.

    A sample is ``tokens``, float32 (D,), and ``labels``, its class 1..C-1. The files
    are made by ``tools/train_cell_classifier.py``.

    Args:
        pictures (dict): Config of the data set of the pictures.
        token_dir (str, optional): Folder of a ``TokenCache``.

    Raises:
        ValueError: If there is no ``token_dir``, or not a single nucleus.
        FileNotFoundError: If the tokens of a picture are missing.
    """

    def __init__(self, pictures: dict, token_dir: str | None = None) -> None:
        if token_dir is None:
            raise ValueError('token_dir=None: a cell classifier is trained with '
                             'tools/train_cell_classifier.py, which makes the tokens')
        dataset = build_cell_dataset(pictures)
        cache = TokenCache(token_dir)
        self.metainfo = dataset.metainfo
        parts = [cache.load(dataset.get_data_info(i)) for i in range(len(dataset))]
        self.tokens, self.labels = map(np.concatenate, zip(*parts, strict=True))
        if not len(self):
            raise ValueError(
                f'{token_dir}: in {len(dataset)} pictures no detected nucleus is a '
                'labelled one; check the segmentor with tools/test.py')

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return dict(tokens=self.tokens[index], labels=self.labels[index])

    def class_weight(self) -> list[float]:
        """Weights of the classes 1..C-1, with which all count the same in a loss.

        N / (K n) for a class with n of the N nuclei, where K classes occur; 0 for one
        that does not.
        """
        counts = np.bincount(self.labels, minlength=len(self.metainfo['classes']))[1:]
        weights = len(self) / np.count_nonzero(counts) / np.maximum(counts, 1)
        return np.where(counts > 0, weights, 0).tolist()


def extract_tokens(model: ReclassifyingSegmentor, dataset: CellDataset,
                   cache: TokenCache) -> None:
    """Run the segmentor over the pictures whose tokens the cache does not hold yet.

    Args:
        model (ReclassifyingSegmentor): In eval mode; its classifier does not matter.
        dataset (CellDataset): Labelled pictures with a test pipeline.
        cache (TokenCache): Takes up the tokens, picture by picture.
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
    """Give detected nuclei the class of the true nucleus that they are paired with.

    They are paired as `CellInstanceMetric` pairs them, so that the classifier sees the
    nuclei whose class will be scored. Other detections are left out.

    Args:
        instances (InstanceData): N detected nuclei with `centroids`, x, y px.
        true_map (np.ndarray): (H, W) integer instance ids, 0 background.
        class_map (np.ndarray): (H, W) integer class ids.
        radius_px (float): Largest distance of the centroids of a pair, px.

    Returns:
        tuple[np.ndarray, np.ndarray]: Rows of the M nuclei that are labelled, and
        their (M,) classes 1..C-1.
    """
    ids = np.unique(true_map[true_map > 0])
    classes, _ = instance_classes(true_map, class_map)
    paired, rows = match_centroids(
        instance_centroids(true_map, ids), instances.centroids, radius_px)
    return rows, classes[paired]


def token_key(checkpoint: Path, model: dict, pipeline: list[dict]) -> str:
    """Names what makes tokens: 16 hex digits of checkpoint, model and test pipeline.

    Args:
        checkpoint (Path): File of the segmentor.
        model (dict): Config of the model; that of its classifier does not count.
        pipeline (list[dict]): Config of the test pipeline.
    """
    model = {key: part for key, part in model.items() if key != 'cell_classifier'}
    digest = hashlib.sha256(json.dumps([model, pipeline], sort_keys=True).encode())
    with open(checkpoint, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


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
