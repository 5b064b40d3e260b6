# Copyright (c) CellVTA-MMSeg contributors.
"""Tiny models and samples that the tests share."""
import copy

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

DIMS = 32  # channels of the tiny ViT
CLASSES = 3  # with background
ENCODER = dict(
    name='vit_tiny_patch16_224',
    embed_dim=DIMS,
    depth=4,
    num_heads=2,
    img_size=64,
    init_values=1e-5)
# One tiny encoder of each family of timm, and with each kind of prefix and patch.
_TINY = dict(embed_dim=DIMS, depth=4, num_heads=2)
ENCODERS = dict(
    vit=ENCODER,
    registers=dict(name='UNI2-h', img_size=56, **_TINY),  # patch 14, SwiGLU
    patch8=dict(name='kaiko-S8', img_size=64, **_TINY),
    rotary=dict(name='DINOv3-S', **_TINY),
    sam=dict(
        name='SAM-B', img_size=128, window_size=3, global_attn_indexes=(1, 3), **_TINY))
BACKBONE = dict(
    type='CellVTAAdapter', encoder=ENCODER, conv_channels=4, deform_num_heads=4)
HEAD = dict(
    type='HoverDecodeHead',
    in_channels=[3] + [DIMS] * 4,
    channels=2,
    num_classes=CLASSES,
    loss_np=[dict(type='FocalTverskyLoss'),
             dict(type='HoverDiceLoss')],
    loss_hv=[dict(type='HVMSELoss'), dict(type='HVGradientLoss')],
    loss_nc=[dict(type='CrossEntropyLoss')])
SEGMENTOR = dict(
    type='CellSegmentor',
    data_preprocessor=dict(
        type='CellDataPreProcessor',
        mean=[127.5] * 3,
        std=[127.5] * 3,
        bgr_to_rgb=True,
        size_divisor=16,
        test_cfg=dict(size_divisor=16)),
    backbone=BACKBONE,
    decode_head=HEAD,
    test_cfg=dict(mode='whole'))


def build(cfg: dict, **changes):
    """Builds `cfg` after nested `changes`, such as `encoder=dict(frozen=False)`."""
    cfg = ConfigDict(copy.deepcopy(cfg))
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(cfg.get(key), dict):
            cfg[key].update(value)
        else:
            cfg[key] = value
    torch.manual_seed(0)
    return MODELS.build(cfg)


def randomize(module):
    """Gives every bias, scale and statistic a value that a mistake would show."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.dim() == 1 and tensor.is_floating_point():
            away = 1 if name.endswith(('weight', 'gamma', 'running_var')) else 0
            tensor.data = away + 0.3 * torch.rand(tensor.shape, generator=generator)
    return module.eval()


def square_sample(name: str = 'square', **meta) -> SegDataSample:
    """A labelled 64 x 64 px sample with one square nucleus of class 1."""
    size = 64
    inst_map = torch.zeros(1, size, size, dtype=torch.int32)
    inst_map[:, 16:40, 20:44] = 1
    ramp = torch.linspace(-1, 1, 24)
    hv_map = torch.zeros(2, size, size)
    hv_map[0, 16:40, 20:44] = ramp
    hv_map[1, 16:40, 20:44] = ramp[:, None]
    sample = SegDataSample(
        metainfo=dict(
            sample_name=name, ori_shape=(size, size), img_shape=(size, size), **meta))
    sample.gt_inst_map = PixelData(data=inst_map)
    sample.gt_sem_seg = PixelData(data=inst_map.long())
    sample.gt_hv_map = PixelData(data=hv_map)
    return sample
