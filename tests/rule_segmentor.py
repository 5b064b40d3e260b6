# Copyright (c) CellVTA-MMSeg contributors.
"""A segmentor that needs no training: dark is nucleus, red or blue says the class."""
import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from tiny_models import SEGMENTOR, build

from mmseg_cellvta.datasets.transforms import hv_target
from mmseg_cellvta.models.segmentors import CellSegmentor, ReclassifyingSegmentor

CLASSES = ('background', 'red', 'blue')
PALETTE = [[255, 255, 255], [220, 30, 30], [30, 30, 220]]
MPP = 0.5  # µm/px of the network
CONFIG = dict(
    default_scope='mmseg',
    custom_imports=dict(imports=['rule_segmentor'], allow_failed_imports=False),
    model=dict(
        SEGMENTOR, type='RuleSegmentor',
        post_processor=dict(type='HoverPostProcessor', markers='rising', mpp=MPP),
        test_cfg=dict(mode='slide', crop_size=(128, 128), stride=(96, 96))))


@MODELS.register_module()
class RuleSegmentor(CellSegmentor):
    """Maps by rule instead of by its network, whose tokens it keeps."""

    def encode_decode(self, inputs, batch_img_metas):
        # Back to 0-255; the preprocessor has made RGB of BGR.
        images = (inputs * 127.5 + 127.5).permute(0, 2, 3, 1).cpu().numpy()
        maps = [torch.from_numpy(_maps(image)) for image in images]
        return torch.stack(maps).to(inputs.device)

    def encode_decode_tokens(self, inputs, metas):
        _, tokens = super().encode_decode_tokens(inputs, metas)
        return self.encode_decode(inputs, metas), tokens


@MODELS.register_module()
class ReclassifyingRuleSegmentor(RuleSegmentor, ReclassifyingSegmentor):
    """The same with a cell classifier behind it."""


def _maps(image):
    nuclei = image.mean(axis=2) < 128
    _, inst_map = cv2.connectedComponents(nuclei.astype(np.uint8), connectivity=4)
    red = nuclei & (image[..., 0] > image[..., 2])
    blue = nuclei & ~red
    return np.concatenate([
        [~nuclei, nuclei], hv_target(inst_map), [~nuclei, red, blue]
    ]).astype(np.float32)


def write_model(folder):
    """Writes config and checkpoint; returns their paths."""
    init_default_scope('mmseg')
    torch.save(
        dict(meta=dict(dataset_meta=dict(classes=CLASSES, palette=PALETTE)),
             state_dict=build(CONFIG['model']).state_dict()), folder / 'model.pth')
    Config(CONFIG).dump(folder / 'model.py')
    return folder / 'model.py', folder / 'model.pth'


def draw_slide(height, width, step=40, radius=12, seed=0):
    """A pink image with round nuclei, and their centres (N, 2) x, y px and classes.

    Nuclei lie on a jittered grid; every third one is red, the others are blue.
    """
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (235, 190, 215), np.uint8)
    centres = np.array([
        (x, y) for y in range(step // 2, height - step // 4, step)
        for x in range(step // 2, width - step // 4, step)])
    centres += rng.integers(-5, 6, centres.shape)
    classes = np.where(np.arange(len(centres)) % 3 == 0, 1, 2)
    for centre, class_id in zip(centres.tolist(), classes, strict=True):
        color = (150, 40, 60) if class_id == 1 else (60, 40, 150)
        cv2.circle(image, centre, radius, color, -1)
    return image, centres + 0.5, classes
