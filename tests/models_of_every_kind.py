# Copyright (c) CellVTA-MMSeg contributors.
"""Models of every kind, for tests on devices that this machine has not."""
import torch
from tiny_models import BACKBONE, DIMS, ENCODERS, HEAD, SEGMENTOR


def adapter(kind, tissues=False, **changes):
    encoder = dict(ENCODERS[kind])
    backbone = dict(
        BACKBONE, encoder=encoder, num_extra_extractors=0, out_cls_token=tissues,
        **changes)
    return segmentor(backbone, DIMS if tissues else None)


def token_maps(kind, tissue_channels=None):
    backbone = dict(
        type='ViTTokenMaps', encoder=ENCODERS[kind],
        out_cls_token=tissue_channels is not None)
    return segmentor(
        backbone, tissue_channels, in_strides=(1, 16, 16, 16, 16),
        bottleneck_conv=False)


def segmentor(backbone, tissue_channels=None, **head):
    if tissue_channels is not None:
        head.update(
            tissue_classes=['skin', 'lung'], tissue_channels=tissue_channels,
            loss_tissue=dict(type='CrossEntropyLoss'))
    head = dict(
        HEAD, loss_nc=[
            dict(type='CrossEntropyLoss'), dict(type='MultiClassFocalTverskyLoss')],
        **head)
    return dict(SEGMENTOR, backbone=backbone, decode_head=head)


RESNET = dict(
    type='ResNetV1c', depth=18, base_channels=8, stem_channels=8,
    strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True,
    norm_cfg=dict(type='SyncBN'), norm_eval=False)
CASES = dict(
    adapter_vit=adapter('registers', tissues=True, drop_path_rate=0.1),
    adapter_eva=adapter('rotary'),
    adapter_sam=adapter('sam'),
    no_pyramid=adapter('vit', conv_pyramid=False, injection_stages=()),
    reclassifying=dict(
        adapter('vit', tissues=True, cls_token='beside'),
        type='ReclassifyingSegmentor',
        cell_classifier=dict(type='CellClassifier', num_classes=4)),
    cellvit=token_maps('vit', DIMS),
    cellvit_eva=token_maps('rotary'),
    cellvit_sam=token_maps('sam', 256),
    hovernet=segmentor(
        RESNET, in_strides=(1, 4, 8, 16, 16), in_channels=[3, 8, 16, 32, 64]))


def tensors_in(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return []
    return [tensor for part in tree for tensor in tensors_in(part)]
