# Copyright (c) CellVTA-MMSeg contributors.
"""Parameters and multiply-adds of a model, without weights and without memory."""
import copy
from dataclasses import dataclass

import torch
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

# A bilinear sample is the weighted sum of four neighbours, and deformable attention
# then adds it to its sum with a weight: five multiply-adds a channel.
MACS_PER_SAMPLE = 5


@dataclass(frozen=True)
class Complexity:
    """What a model costs on any machine.

    Attributes:
        params (int): Numbers in the model, those of its running statistics left out.
        trainable_params (int): Those that training changes.
        macs (int): Multiply-adds of a forward pass over a batch.
    """
    params: int
    trainable_params: int
    macs: int


def measure_complexity(model_cfg: ConfigDict, size: tuple[int, int],
                       batch_size: int = 1) -> Complexity:
    """Count without allocating: also the largest model needs no memory and no weights.

    Args:
        model_cfg (ConfigDict): The ``model`` of a config.
        size (tuple[int, int]): Rows and columns of the pictures, px.
        batch_size (int): Pictures.
    """
    with torch.device('meta'):
        model = build_without_weights(model_cfg)
    params = list(model.parameters())
    return Complexity(
        params=sum(p.numel() for p in params),
        trainable_params=sum(p.numel() for p in params if p.requires_grad),
        macs=count_macs(model, (batch_size, 3, *size)))


def build_without_weights(model_cfg: ConfigDict) -> nn.Module:
    """Build the model of a config from random weights, whatever it would load."""
    model_cfg = copy.deepcopy(model_cfg)
    model_cfg.pop('init_cfg', None)
    model_cfg.pop('pretrained', None)
    backbone = model_cfg.backbone
    backbone.pop('init_cfg', None)
    if 'encoder' in backbone:
        backbone.encoder.weights = None
    return revert_sync_batchnorm(MODELS.build(model_cfg))


def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of ``model(inputs, mode='tensor')``.

    Counted are convolutions, linear layers, the two matrix products of attention, and
    the sampling of deformable attention. Left out, as usual: normalisation,
    activations, softmax, sums of maps and their bilinear enlargement.

    Args:
        model (nn.Module): A model on the meta device.
        input_shape (tuple[int, ...]): (N, 3, H, W).
    """
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.grid_sampler_2d: _sample_flops})
    # Fake tensors say that they are on the CPU, which autocast can handle; meta ones
    # stop it. The plain form of attention consists of products that are counted.
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.eval().to_empty(device='cpu')
        inputs = torch.empty(input_shape)
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(inputs, mode='tensor')
    return counter.get_total_flops() // 2


def _sample_flops(input_shape, grid_shape, *args, out_shape=None, **kwargs) -> int:
    n, channels = input_shape[:2]
    _, height, width, _ = grid_shape
    return 2 * MACS_PER_SAMPLE * n * channels * height * width
