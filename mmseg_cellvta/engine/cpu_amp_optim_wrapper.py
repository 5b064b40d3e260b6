# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

# Instruction sets that multiply in bfloat16; without one torch emulates it, slowly.
BFLOAT16_INSTRUCTIONS = ('avx512_bf16', 'amx_bf16')


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Trains on a CPU in bfloat16, if that CPU computes in it; in float32 otherwise.

    MMEngine's `AmpOptimWrapper` refuses CPUs. Weights, optimizer, losses and deformable
    attention stay in float32; bfloat16 has its range, so no loss needs to be scaled. On
    a GPU this is a plain `OptimWrapper`.

    Args:
        *args, **kwargs: Arguments of `OptimWrapper`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.enabled = has_bfloat16()

    def initialize_count_status(
            self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Logs what a CPU computes in; called where training starts."""
        super().initialize_count_status(model, init_counts, max_counts)
        if next(model.parameters()).device.type == 'cpu':
            used = 'bfloat16' if self.enabled else 'float32, as it has no bfloat16'
            print_log(f'This CPU trains the network in {used}.', logger='current')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Computes the losses of `model` in bfloat16."""
        with super().optim_context(model), torch.autocast(
                'cpu', dtype=torch.bfloat16, enabled=self.enabled):
            yield


def has_bfloat16() -> bool:
    """Returns True where this machine's CPU has instructions for bfloat16."""
    # Older versions of torch do not tell.
    found = getattr(torch.cpu, 'get_capabilities', dict)()
    return any(found.get(name, False) for name in BFLOAT16_INSTRUCTIONS)
