# Copyright (c) CellVTA-MMSeg contributors.
"""Which tokens a cell classifier learns from."""
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData

from ..datasets.cell_dataset import CellDataset
from ..datasets.token_cache import TokenCache
from ..evaluation.cell_instance_metric import RADIUS_UM
from ..evaluation.functional import (
    instance_centroids,
    instance_classes,
    match_centroids,
)
from ..models import ReclassifyingSegmentor


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
