# Copyright (c) CellVTA-MMSeg contributors.
"""Which versions and which card a machine has."""
import os
import platform
import subprocess

import timm
import torch

from .devices import device_names
from .stacks import NO_CUDA, operators_cuda_version, stack_versions


def describe_machine() -> dict[str, str]:
    """Returns versions, and what the compiled op and the float32 of the card are."""
    return {
        'python': f'{platform.python_version()} on {platform.platform()}',
        'processor': f'{_count_cores()} cores to use',
        'torch': torch.__version__,
        'devices': ', '.join(device_names()),
        **_describe_cuda(),
        **stack_versions(),
        'timm': timm.__version__,
        'compiled MultiScaleDeformableAttention': _describe_op(),
    }


def _count_cores() -> int:
    # Apple's system does not tell which cores a process may use.
    tells = hasattr(os, 'sched_getaffinity')
    return len(os.sched_getaffinity(0)) if tells else os.cpu_count()


def _describe_cuda() -> dict[str, str]:
    if not torch.cuda.is_available():
        built = f'torch is built for {torch.version.cuda}' if (
            torch.version.cuda) else 'torch is built without'
        return {'CUDA': f'no device; {built}'}
    card = torch.cuda.get_device_properties(0)
    count = torch.cuda.device_count()
    return {
        'CUDA': f'{torch.version.cuda} (of torch), driver {_driver_version()}',
        'cuDNN': str(torch.backends.cudnn.version()),
        'card': f'{card.name}, {card.total_memory / 2**30:.1f} GiB, compute capability '
                f'{card.major}.{card.minor}' + (f', first of {count}'
                                                if count > 1 else ''),
        'bfloat16 on the card': _yes(torch.cuda.is_bf16_supported()),
        'TF32 in place of float32': (
            f'convolutions {_yes(torch.backends.cudnn.allow_tf32)}, matrix products '
            f'{_yes(torch.backends.cuda.matmul.allow_tf32)}'),
    }


def _driver_version() -> str:
    command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return said.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return 'not known (nvidia-smi does not answer)'


def _describe_op() -> str:
    built_with = operators_cuda_version()
    if built_with is None:
        return 'no: mmcv has no compiled operators; the torch form is used'
    if built_with == NO_CUDA:
        return 'no: mmcv was built without CUDA; the torch form is used'
    return f'yes, built with CUDA {built_with}'


def _yes(value: bool) -> str:
    return 'yes' if value else 'no'
