# Copyright (c) CellVTA-MMSeg contributors.
"""CoNIC's protocol with a network that is always right: enlarge, tile, blend, find
nuclei once, bring them back. What is lost, the protocol has lost."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from tiny_models import SEGMENTOR, build

from mmseg_cellvta.datasets.labels import read_mat_labels
from mmseg_cellvta.datasets.transforms import hv_target
from mmseg_cellvta.evaluation.functional.overlaps import contingency

CLASSES = 5
ROOT = Path(__file__).resolve().parents[3]
CONFIG = Config.fromfile(ROOT / 'configs/cellvta_uni_conic.py')
TILE, STRIDE = CONFIG.model.test_cfg.crop_size[0], CONFIG.model.test_cfg.stride[0]
SIDE = 480  # px of an enlarged patch


def true_maps(inputs, _):
    """In place of the network: perfect maps of the labels that stand in the image."""
    maps = []
    for inst_map, class_map, _ in inputs.numpy().astype(np.int32):
        nuclei = inst_map > 0
        maps.append(np.concatenate([
            [~nuclei, nuclei], hv_target(inst_map),
            np.eye(CLASSES)[class_map].transpose(2, 0, 1)]))
    return torch.from_numpy(np.stack(maps).astype(np.float32))


@pytest.fixture
def model():
    model = build(SEGMENTOR, decode_head=dict(num_classes=CLASSES),
                  post_processor=CONFIG.model.post_processor, mpp=CONFIG.model.mpp)
    model.test_cfg = ConfigDict(CONFIG.model.test_cfg)
    model.encode_decode = true_maps
    return model


def find(model, inst_map, class_map):
    """Instance map that testing gives for a 256 px patch at 0.5 µm/px."""
    enlarge = TRANSFORMS.build(dict(type='ResizeToMpp'))  # to the scale of `model`
    results = enlarge(dict(
        img=np.zeros((*inst_map.shape, 3), np.uint8), mpp=0.5,
        gt_inst_map=inst_map, gt_seg_map=class_map,
        seg_fields=['gt_inst_map', 'gt_seg_map']))
    layers = [results['gt_inst_map'], results['gt_seg_map'], results['img'][..., 0]]
    image = torch.from_numpy(np.stack(layers).astype(np.float32))[None]
    assert image.shape[2:] == (SIDE, SIDE)
    sample = SegDataSample(metainfo=dict(
        ori_shape=inst_map.shape, img_shape=results['img_shape']))
    return model.predict(image, [sample])[0].pred_inst_map.data[0].numpy()


def best_iou(true, pred):
    """(ids, areas, largest IoU with a prediction) of the true nuclei."""
    true_ids, pred_ids, pixels = contingency(true, pred)
    areas = [np.bincount(array.ravel()) for array in (true, pred)]
    union = areas[0][true_ids] + areas[1][pred_ids] - pixels
    iou = np.where((true_ids > 0) & (pred_ids > 0), pixels / union, 0)
    best = np.zeros(len(areas[0]))
    np.maximum.at(best, true_ids, iou)
    ids = np.unique(true[true > 0])
    return ids, areas[0][ids], best[ids]


def grid_of_nuclei():
    """Discs of 11 px that cross every line along which tiles end."""
    inst_map = np.zeros((256, 256), np.int32)
    for index, (row, col) in enumerate(np.ndindex(16, 16), start=1):
        cv2.circle(inst_map, (16 * col + 8, 16 * row + 8), 5, index, -1)
    return inst_map


def test_every_nucleus_on_a_grid_comes_back_once(model):
    true = grid_of_nuclei()
    pred = find(model, true, (true > 0).astype(np.uint8))
    assert pred.max() == true.max() == 256
    assert best_iou(true, pred)[2].min() > 0.85


def test_a_nucleus_larger_than_the_overlap_is_whole(model):
    true = np.zeros((256, 256), np.int32)
    cv2.ellipse(true, (128, 128), (22, 14), 30, 0, 360, 1, -1)  # 22 x 14 µm
    pred = find(model, true, true.astype(np.uint8))
    assert pred.max() == 1
    assert best_iou(true, pred)[2][0] > 0.9


def patches_at_20x(path, side=256):
    """Labels of a CoNSeP image at 0.5 µm/px, in patches of 256 px."""
    shrink = TRANSFORMS.build(dict(type='ResizeToMpp', mpp=0.5))
    inst_map, class_map = read_mat_labels(str(path))
    results = shrink(dict(
        img=np.zeros((*inst_map.shape, 3), np.uint8), mpp=0.275,
        gt_inst_map=inst_map.copy(), gt_seg_map=class_map.copy(),
        seg_fields=['gt_inst_map', 'gt_seg_map']))
    for top in range(0, results['img_shape'][0] - side + 1, side):
        for left in range(0, results['img_shape'][1] - side + 1, side):
            window = slice(top, top + side), slice(left, left + side)
            yield (np.ascontiguousarray(results['gt_inst_map'][window]),
                   np.ascontiguousarray(results['gt_seg_map'][window]))


def test_real_nuclei_come_back_also_at_the_seams(model, shared_dir):
    folder = shared_dir / 'data' / 'CoNSeP' / 'Train' / 'Labels'
    whole = build(SEGMENTOR, decode_head=dict(num_classes=CLASSES),
                  post_processor=CONFIG.model.post_processor, mpp=CONFIG.model.mpp)
    whole.encode_decode = true_maps
    scale = SIDE / 256
    seam = np.zeros((256, 256), bool)
    band = slice(int(STRIDE / scale), int(TILE / scale) + 1)
    seam[band], seam[:, band] = True, True
    found, at_seam, lost_by_tiling = [], [], 0
    for path in sorted(folder.glob('*.mat')):
        for true, classes in patches_at_20x(path):
            ids, areas, iou = best_iou(true, find(model, true, classes))
            if iou.min(initial=1) == 0:
                untiled = best_iou(true, find(whole, true, classes))[2]
                lost_by_tiling += ((iou == 0) & (untiled > 0)).sum()
            found += iou[areas >= 16].tolist()
            at_seam += np.isin(ids, true[seam])[areas >= 16].tolist()
    found, at_seam = np.array(found), np.array(at_seam)
    assert len(found) > 10_000 and at_seam.sum() > 2000
    assert (found >= 0.75).mean() >= 0.97
    assert (found[at_seam] >= 0.75).mean() >= 0.97
    assert lost_by_tiling == 0
    print(f'{len(found)} nuclei, {(found >= 0.75).mean():.4f} with IoU >= 0.75; '
          f'{at_seam.sum()} at a seam, {(found[at_seam] >= 0.75).mean():.4f}')
