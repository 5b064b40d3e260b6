# Copyright (c) CellVTA-MMSeg contributors.
"""The network as OpenVINO computes it, which is faster than torch on some processors.

OpenVINO's own `convert_model` reports every use to its makers. Here its parts are put
together, and nothing leaves the machine.
"""
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor
from torch.jit import TracerWarning

from .network import TileNetwork

MAX_APART = 1e-3  # that maps may be from those of torch; they are probabilities
BICUBIC = -0.5  # coefficient of torch's antialiased bicubic sampling


class OpenVINONetwork(TileNetwork):
    """A `TileNetwork` for processors, whose maps of tiles OpenVINO computes.

    Images that are smaller than a tile are left to torch: preparing OpenVINO for their
    size would take longer than they do.

    Args:
        model: A `CellSegmentor` in the form for inference, on the CPU.
        tile: (height, width) of tiles, px.
        amp: Compute in bfloat16.
        with_tokens: Hand out tokens too.

    Raises:
        ImportError: When OpenVINO is not installed.
        ValueError: When its maps are not those of torch, or the processor does not
            know bfloat16.
    """

    def __init__(self, model: EncoderDecoder, tile: tuple[int, int],
                 amp: bool = False, with_tokens: bool = False) -> None:
        super().__init__(model, amp, with_tokens)
        self.tile = tile
        self.compiled = self._prepare()

    def _compute(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(inputs.shape[2:]) != self.tile:
            return super()._compute(inputs)
        # It is made for one: another number of tiles would need another preparation.
        results = [self.compiled(inputs[i:i + 1].numpy()) for i in range(len(inputs))]
        return tuple(
            torch.from_numpy(np.concatenate([result[part] for result in results]))
            for part in range(2))

    @torch.no_grad()
    def _prepare(self) -> 'openvino.CompiledModel':  # noqa: F821
        openvino = _import_openvino()
        if self.amp and 'BF16' not in openvino.Core().get_property(
                'CPU', 'OPTIMIZATION_CAPABILITIES'):
            raise ValueError("backend='openvino': this processor does not know "
                             'bfloat16; leave out amp')
        noise = np.random.default_rng(0).integers(
            256, size=(2, *self.tile, 3), dtype=np.uint8)
        seen, new = self._normalize(torch.from_numpy(noise)).split(1)
        full = TileNetwork(self.model, with_tokens=self.token_dims > 0)
        try:
            graph = _convert(full._compute, seen)
            compiled = _compile(graph, 'f32')
            found = compiled(new.numpy())
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise _refusal(
                openvino, f'cannot compute this network ({reason})') from None
        # What does not depend on pixels as it should shows in others than it has seen.
        for part, values in enumerate(full._compute(new)):
            apart = np.abs(values.numpy() - found[part]).max(initial=0)
            if not apart <= MAX_APART:
                raise _refusal(
                    openvino, f'gives maps of a tile that are {apart:.2g} apart from '
                    f'those of torch, expected at most {MAX_APART:g}')
        return _compile(graph, 'bf16') if self.amp else compiled


def _compile(graph: 'openvino.Model',  # noqa: F821
             precision: str) -> 'openvino.CompiledModel':  # noqa: F821
    import openvino

    return openvino.compile_model(graph, 'CPU', {
        # Processors that know bfloat16 would take it unasked.
        'INFERENCE_PRECISION_HINT': precision,
        'INFERENCE_NUM_THREADS': torch.get_num_threads(),
        # The workers that find nuclei need processors too.
        'ENABLE_CPU_PINNING': False,
    })


def _refusal(openvino: ModuleType, fault: str) -> ValueError:
    return ValueError(f'OpenVINO {openvino.__version__} {fault}; leave out '
                      "backend='openvino', or install another version of it")


def _import_openvino() -> ModuleType:
    try:
        import openvino
    except ImportError as error:
        raise ImportError(
            f"backend='openvino': {error}; run pip install openvino") from error
    return openvino


def _convert(compute: Callable, inputs: Tensor
             ) -> 'openvino.Model':  # noqa: F821
    """Turns a function of tensors into OpenVINO's form, for inputs of this size."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch import ConversionExtension
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    frontend = FrontEndManager().load_by_framework('pytorch')
    frontend.add_extension(
        ConversionExtension('aten::_upsample_bicubic2d_aa', _sample_bicubic))
    with warnings.catch_warnings():
        # What is decided by the size of a tile may stay decided.
        warnings.simplefilter('ignore', TracerWarning)
        decoder = TorchScriptPythonDecoder(
            torch.jit.trace(compute, inputs, check_trace=False))
    graph = frontend.convert(frontend.load(decoder))
    graph.reshape(list(inputs.shape))
    return graph


def _sample_bicubic(node: 'openvino.frontend.NodeContext') -> list:  # noqa: F821
    """Samples as torch does, also constants, such as the positions of a ViT.

    For them OpenVINO's own takes another coefficient.
    """
    from openvino import opset11

    image, size = node.get_input(0), node.get_input(1)
    return opset11.interpolate(
        image, size, mode='bicubic_pillow', shape_calculation_mode='sizes',
        coordinate_transformation_mode='pytorch_half_pixel', pads_begin=[0] * 4,
        pads_end=[0] * 4, cube_coeff=BICUBIC, axes=np.array([2, 3])).outputs()
