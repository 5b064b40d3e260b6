# Copyright (c) CellVTA-MMSeg contributors.
"""Parameters and multiply-adds of a model, and its time and memory on this machine.

A forward pass is that of the form for inference (`CellSegmentor.switch_to_deploy`),
where a model has one; parameters and training steps are those of the normal form.
"""
import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ..configuration.configs import load_config
from .devices import synchronize

STATUS = Path('/proc/self/status')  # of Linux
MIB = 1024**2
NUCLEUS = slice(8, 24)  # rows and columns of the only nucleus of an image, px


@dataclass(frozen=True)
class Complexity:
    """The cost of a model on any machine.

    Attributes:
        params: Parameters; running statistics do not count.
        trainable_params: Parameters that training changes.
        macs: Multiply-adds of a forward pass over a batch, in the form for inference.
    """

    params: int
    trainable_params: int
    macs: int


def measure_complexity(model_cfg: ConfigDict, size: tuple[int, int],
                       batch_size: int = 1) -> Complexity:
    """Counts without allocating: the largest model needs no memory and no weights.

    Args:
        model_cfg: The `model` of a config.
        size: (height, width) of the images, px.
        batch_size: Number of images.
    """
    with torch.device('meta'):
        model = build_without_weights(model_cfg)
    params = list(model.parameters())
    trainable = [p for p in params if p.requires_grad]  # none in the form for inference
    return Complexity(
        params=sum(p.numel() for p in params),
        trainable_params=sum(p.numel() for p in trainable),
        macs=count_macs(_for_inference(model), (batch_size, 3, *size)))


def build_without_weights(model_cfg: ConfigDict) -> nn.Module:
    """Builds the model of a config from random weights, whatever it would load."""
    return revert_sync_batchnorm(MODELS.build(without_weights(model_cfg)))


def without_weights(model_cfg: ConfigDict) -> ConfigDict:
    """Returns a copy of the `model` of a config that loads nothing."""
    model_cfg = copy.deepcopy(model_cfg)
    model_cfg.pop('init_cfg', None)
    model_cfg.pop('pretrained', None)
    backbone = model_cfg.backbone
    backbone.pop('init_cfg', None)
    if 'encoder' in backbone:
        backbone.encoder.weights = None
    return model_cfg


def _for_inference(model: nn.Module) -> nn.Module:
    if hasattr(model, 'switch_to_deploy'):
        model.switch_to_deploy()
    return model.eval()


def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Counts the multiply-adds of `model(inputs, mode='tensor')`.

    Convolutions, linear layers, the two matrix products of attention and the sampling
    of deformable attention count, as they run on a CPU. Normalisation, activations,
    softmax, sums of maps and their bilinear enlargement do not, as usual.

    Args:
        model: A model on the meta device.
        input_shape: (N, 3, H, W).
    """
    counter = FlopCounterMode(display=False, custom_mapping={
        torch.ops.aten._embedding_bag_forward_only: _row_sum_flops})
    # Autocast takes fake tensors, which say that they are on the CPU, but no meta
    # tensors. The plain form of attention consists of products that are counted.
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.eval().to_empty(device='cpu')
        inputs = torch.empty(input_shape)
        # Here: torch 2.3 has it, and nothing else needs more than torch 2.1.
        from torch.nn.attention import SDPBackend, sdpa_kernel
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(inputs, mode='tensor')
    return counter.get_total_flops() // 2


def _row_sum_flops(table_shape, rows_shape, *args, out_shape=None, **kwargs) -> int:
    """Counts one multiply-add for each number of each row, four rows a sample."""
    return 2 * rows_shape.numel() * table_shape[1]


@dataclass(frozen=True)
class Timing:
    """The cost of a model on this machine.

    Peak memory includes the weights. On CUDA it is the memory that torch has allocated;
    on a CPU under Linux the resident memory of the process above that before the model
    was built; else NaN.

    Attributes:
        forward_s: Median time of a forward pass of the network over a batch, in the
            form for inference and without post-processing, s.
        train_step_s: Median time of forward, backward and optimizer, s.
        forward_mib: Peak memory of that forward pass, MiB.
        train_mib: Peak memory of a training step, MiB.
    """

    forward_s: float
    train_step_s: float
    forward_mib: float
    train_mib: float


def measure_timing(config: str, options: Mapping[str, Any] | Sequence[str] | None,
                   size: tuple[int, int], batch_size: int, device: str,
                   repeats: int) -> Timing:
    """Runs the model of a config on random images, from random weights.

    Needs a process that has held no other model: memory that a process has freed stays
    with it and would hide how much the next model takes.

    Args:
        config: Path of a config with `model` and `optim_wrapper`.
        options: Settings that replace those of the file, see `load_config`.
        size: (height, width) of the images, px.
        batch_size: Number of images.
        device: 'cpu', 'cuda', 'mps' or 'npu'.
        repeats: Timed runs, after one to warm up.
    """
    cfg = load_config(config, options)
    before = _memory_mib(device)
    model = _for_inference(build_without_weights(cfg.model)).to(device)
    inputs = torch.rand(batch_size, 3, *size, device=device)

    def forward() -> None:
        with torch.no_grad():
            model(inputs, mode='tensor')

    forward_s, forward_mib = measure_call(forward, device, repeats)
    del model  # before the other form is built, so that both are never in memory
    model = build_without_weights(cfg.model).to(device).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = labelled_batch(model, size, batch_size)
    train_step_s, train_mib = measure_call(
        lambda: model.train_step(data, optim_wrapper), device, repeats)
    return Timing(forward_s, train_step_s, forward_mib - before, train_mib - before)


def measure_call(function: Callable[[], object], device: str,
                 repeats: int) -> tuple[float, float]:
    """Returns the median time after a warm-up, s, and the peak memory, MiB."""
    _reset_peak(device)
    function()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        function()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times), _peak_mib(device)


def labelled_batch(model: nn.Module, size: tuple[int, int], batch_size: int) -> dict:
    """Returns what a data loader hands to `model.train_step`: noise, one nucleus."""
    return dict(
        inputs=[torch.randint(256, (3, *size), dtype=torch.uint8)] * batch_size,
        data_samples=[_labelled_sample(model, size) for _ in range(batch_size)])


def _labelled_sample(model: nn.Module, size: tuple[int, int]) -> SegDataSample:
    """Returns the ground truth of an image with one square nucleus of class 1."""
    tissues = getattr(model.decode_head, 'tissue_classes', None)
    sample = SegDataSample(metainfo=dict(
        img_shape=size, ori_shape=size, tissue=tissues[0] if tissues else None))
    inst_map = torch.zeros(1, *size, dtype=torch.int32)
    inst_map[:, NUCLEUS, NUCLEUS] = 1
    sample.gt_inst_map = PixelData(data=inst_map)
    sample.gt_sem_seg = PixelData(data=inst_map.long())
    sample.gt_hv_map = PixelData(data=inst_map.float().expand(2, -1, -1).clone())
    return sample


def _memory_mib(device: str) -> float:
    return _status_mib('VmRSS') if device == 'cpu' and STATUS.exists() else 0.0


def _reset_peak(device: str) -> None:
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    elif device == 'cpu' and STATUS.exists():
        STATUS.with_name('clear_refs').write_text('5')  # resets VmHWM


def _peak_mib(device: str) -> float:
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / MIB
    return _status_mib('VmHWM') if device == 'cpu' and STATUS.exists() else math.nan


def _status_mib(name: str) -> float:
    lines = STATUS.read_text().splitlines()
    line = next(line for line in lines if line.startswith(f'{name}:'))
    return int(line.split()[1]) / 1024
