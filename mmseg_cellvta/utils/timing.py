# Copyright (c) CellVTA-MMSeg contributors.
"""Time and memory of a forward pass and of a training step."""
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from .complexity import build_without_weights
from .configs import load_config

MIB = 1024**2
NUCLEUS = slice(8, 24)  # rows and columns of the one nucleus of a picture, px


@dataclass(frozen=True)
class Timing:
    """What a model costs on this machine.

    Attributes:
        forward_s (float): Median time of a forward pass of the network over a batch,
            in s; post-processing is not in it.
        train_step_s (float): Median time of forward, backward and optimizer, in s.
        forward_mib, train_mib (float): Peak memory of either, in MiB, the weights
            included: on CUDA what torch has allocated; on a CPU the resident memory of
            the process above what it was before the model was built.
    """
    forward_s: float
    train_step_s: float
    forward_mib: float
    train_mib: float


def measure_timing(config: str, options: dict | None, size: tuple[int, int],
                   batch_size: int, device: str, repeats: int) -> Timing:
    """Run the model of a config on random pictures, from random weights.

    To be called in a process that has held no other model: what a process has freed
    stays in it and would hide what the next model takes.

    Args:
        config (str): Path of a config with ``model`` and ``optim_wrapper``.
        options (dict, optional): Settings that replace those of the file.
        size (tuple[int, int]): Rows and columns of the pictures, px.
        batch_size (int): Pictures.
        device (str): ``'cpu'`` or ``'cuda'``.
        repeats (int): Timed runs, after one to warm up.
    """
    cfg = load_config(config, options)
    before = _memory_mib(device)
    model = build_without_weights(cfg.model).to(device)
    inputs = torch.rand(batch_size, 3, *size, device=device)

    def forward() -> None:
        with torch.no_grad():
            model(inputs, mode='tensor')

    model.eval()
    forward_s, forward_mib = _measure(forward, device, repeats)
    model.train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = dict(
        inputs=[torch.randint(256, (3, *size), dtype=torch.uint8)] * batch_size,
        data_samples=[_labelled_sample(model, size) for _ in range(batch_size)])
    train_step_s, train_mib = _measure(
        lambda: model.train_step(data, optim_wrapper), device, repeats)
    return Timing(forward_s, train_step_s, forward_mib - before, train_mib - before)


def _measure(function: Callable[[], object], device: str,
             repeats: int) -> tuple[float, float]:
    """Median time in s after a warm-up, and peak memory in MiB."""
    _reset_peak(device)
    function()
    times = []
    for _ in range(repeats):
        _synchronize(device)
        start = time.perf_counter()
        function()
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times), _peak_mib(device)


def _labelled_sample(model: nn.Module, size: tuple[int, int]) -> SegDataSample:
    """A picture with one square nucleus of class 1."""
    tissues = getattr(model.decode_head, 'tissue_classes', None)
    sample = SegDataSample(metainfo=dict(
        img_shape=size, ori_shape=size, tissue=tissues[0] if tissues else None))
    inst_map = torch.zeros(1, *size, dtype=torch.int32)
    inst_map[:, NUCLEUS, NUCLEUS] = 1
    sample.gt_inst_map = PixelData(data=inst_map)
    sample.gt_sem_seg = PixelData(data=inst_map.long())
    sample.gt_hv_map = PixelData(data=inst_map.float().expand(2, -1, -1).clone())
    return sample


def _synchronize(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def _memory_mib(device: str) -> float:
    return 0.0 if device == 'cuda' else _status_mib('VmRSS')


def _reset_peak(device: str) -> None:
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    else:
        Path('/proc/self/clear_refs').write_text('5')  # Linux: resets VmHWM


def _peak_mib(device: str) -> float:
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / MIB
    return _status_mib('VmHWM')


def _status_mib(name: str) -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    line = next(line for line in lines if line.startswith(f'{name}:'))
    return int(line.split()[1]) / 1024
