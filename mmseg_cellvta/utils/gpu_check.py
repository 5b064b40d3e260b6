# Copyright (c) CellVTA-MMSeg contributors.
"""What a machine makes of a model: the compiled op, time and memory, a slide.

Every case stands for itself: it builds its own model from the same random weights, and
what fails says so in one sentence while the rest goes on.
"""
import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn

from ..configuration.configs import load_config
from ..inference import CellInferencer
from ..models.layers.deformable_attention import (
    COMPILED_ATTENTION,
    sample_compiled,
    sample_torch,
)
from ..models.layers.row_sampling import sample_rows
from ..models.layers.tokens import Shapes, TokenLevels, token_levels
from ..slides import open_slide
from .cases import Case, Result
from .complexity import (
    build_without_weights,
    labelled_batch,
    measure_call,
    without_weights,
)
from .devices import WITHOUT_GRID_SAMPLE_GRADIENT, synchronize

# Half precision rounds to 11 and 8 bits, as do convolutions in TF32, torch's float32 on
# newer cards. Random weights at full size: 0.002 in float16, 0.017 in bfloat16.
MAPS_BAR = dict(float32=0.02, float16=0.05, bfloat16=0.2)  # of the largest value
OP_BAR = 1e-4  # of the largest value: float32, sums in another order
# Queries and value levels, px / stride: of the injectors and extractors at 256 px, and
# levels that are not square.
OP_SHAPES = {
    'injector': (256, ((64, 64), (32, 32), (16, 16))),
    'extractor': (5376, ((16, 16), )),
    'not square': (100, ((20, 28), (10, 14), (5, 7))),
}
OP_HEADS, OP_POINTS, OP_DIMS = 8, 4, 64  # over a ViT-L; channels of a head
CELL_MARGIN = 0.05  # px
WHOLE_MM2, PART_MM = 2.0, 1.0  # of a larger slide this square is looked at
PATIENCE_S = 20  # for the timed runs of a case


@dataclass(frozen=True)
class Setup:
    """What is checked.

    Attributes:
        config: Path of a config with `model` and `optim_wrapper`.
        device: 'cpu', 'cuda', 'mps' or 'npu'.
        batch_size: Images at a time.
        side: Of the square images, px.
        repeats: Timed runs of each case; fewer where one takes long.
        slide: A slide to look for cells in.
        compiled: Compile the network, too, which takes minutes.
    """

    config: str
    device: str
    batch_size: int = 8
    side: int = 256
    repeats: int = 10
    slide: str | None = None
    compiled: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images, px."""
        return self.side, self.side


def all_cases(setup: Setup) -> list[Case]:
    """Returns all cases, those that say most first."""
    cases = [Case('compiled op', name, partial(check_op, setup, *shapes), required=True)
             for name, shapes in OP_SHAPES.items()]
    types = list(MAPS_BAR)
    cases += [
        Case('forward', f'{"deploy" if deploy else "normal"} form, {dtype}',
             partial(check_forward, setup, dtype, deploy),
             required=not deploy and dtype == 'float32')
        for deploy in (False, True) for dtype in types]
    cases += [
        Case('training step', f'{"with_cp, " if with_cp else ""}{dtype}',
             partial(check_training, setup, dtype, with_cp),
             required=not with_cp and dtype == 'float32')
        for with_cp in (False, True) for dtype in _training_types(setup.device)]
    if setup.slide is not None:
        cases.append(Case('slide', Path(setup.slide).name,
                          partial(check_slide, setup), apart=True))
    if setup.compiled:
        cases += [
            Case('forward', f'deploy form, {dtype}, compiled',
                 partial(check_forward, setup, dtype, True, compiled=True), apart=True)
            for dtype in ('float16', 'float32')]
    return cases


def check_op(setup: Setup, num_queries: int, shapes: Shapes) -> Result:
    """Compares mmcv's op with the torch form, outputs and gradients, and times both."""
    device = setup.device
    plain = sample_rows if device in WITHOUT_GRID_SAMPLE_GRADIENT else sample_torch
    inputs = op_inputs(setup.batch_size, num_queries, shapes, device)
    levels = token_levels(shapes, torch.device(device))

    def milliseconds(sample: Callable) -> float:
        run = partial(sample_with_gradients, sample, levels, *inputs)
        return 1000 * measure_call(run, device, setup.repeats)[0]

    figures = dict(torch_ms=milliseconds(plain))
    missing = why_no_op(device)
    if missing:
        return Result(figures, missing)
    pairs = zip(sample_with_gradients(sample_compiled, levels, *inputs),
                sample_with_gradients(sample_torch, levels, *inputs), strict=True)
    apart = {name: relative_difference(ours, exact) for name, (ours, exact) in zip(
        ('output', 'value_grad', 'location_grad', 'weight_grad'), pairs, strict=True)}
    wrong = [name for name, difference in apart.items() if not difference <= OP_BAR]
    largest = math.nan if any(map(math.isnan, apart.values())) else max(apart.values())
    figures |= dict(compiled_ms=milliseconds(sample_compiled), apart=largest,
                    bar=OP_BAR, apart_by_tensor=apart)
    return Result(figures, f'{", ".join(wrong)}: not that of the torch form'
                  if wrong else '', bool(wrong))


def why_no_op(device: str) -> str:
    """Returns why the torch form runs; empty where the compiled op does."""
    if device != 'cuda':
        return f'on {device} the torch form is used'
    return '' if COMPILED_ATTENTION else (
        'mmcv was not built with CUDA: the torch form is used')


def sample_with_gradients(sample: Callable, levels: TokenLevels, value: Tensor,
                          locations: Tensor, weights: Tensor,
                          grad: Tensor) -> list[Tensor]:
    """Returns the output of a sampler, and the gradients of its three inputs."""
    output = sample(value, levels, locations, weights)
    gradients = torch.autograd.grad(output, (value, locations, weights), grad)
    return [output.detach(), *gradients]


def op_inputs(n: int, num_queries: int, shapes: Shapes,
              device: str) -> tuple[Tensor, ...]:
    """Returns random values, locations, weights, and the gradient of the output.

    Locations keep away from the centres of tokens: there the gradient of a bilinear
    sample jumps, and rounding decides on which side it is taken.
    """
    torch.manual_seed(0)
    num_keys = sum(height * width for height, width in shapes)
    value = torch.randn(n, num_keys, OP_HEADS, OP_DIMS)
    per_sample = n, num_queries, OP_HEADS, len(shapes), OP_POINTS
    sizes = torch.tensor([(width, height) for height, width in shapes])[:, None]
    whole = (torch.rand(*per_sample, 2) * (sizes + 3)).floor() - 2  # some lie outside
    inside = CELL_MARGIN + (1 - 2 * CELL_MARGIN) * torch.rand(*per_sample, 2)
    locations = (whole + inside + 0.5) / sizes
    weights = torch.randn(per_sample).flatten(3).softmax(-1).view(per_sample)
    tensors = [tensor.to(device).requires_grad_()
               for tensor in (value, locations, weights)]
    return *tensors, torch.randn(n, num_queries, OP_HEADS * OP_DIMS).to(device)


def check_forward(setup: Setup, dtype: str, deploy: bool,
                  compiled: bool = False) -> Result:
    """Measures a forward pass, and compares its maps with those in float32.

    Args:
        setup: What is checked.
        dtype: Of autocast; 'float32' for none.
        deploy: In the form for inference.
        compiled: By `torch.compile`.
    """
    device = setup.device
    model = copy.deepcopy(_random_model(setup.config)).to(device).eval()
    inputs = torch.rand(setup.batch_size, 3, *setup.size, device=device)
    with torch.no_grad():
        exact = _flat(model(inputs, mode='tensor'))
    if deploy:
        model.switch_to_deploy()
    network = torch.compile(model) if compiled else model

    def forward() -> dict[str, Tensor]:
        with torch.no_grad(), autocast(device, dtype):
            return network(inputs, mode='tensor')

    first_s, maps = _first_call(forward, device)
    apart = relative_difference(_flat(maps), exact)
    seconds, peak_mib = measure_call(forward, device, _repeats(setup, first_s))
    figures = _speed(setup, seconds, peak_mib) | dict(
        first_s=first_s, apart=apart, bar=MAPS_BAR[dtype])
    if math.isnan(apart):
        return Result(figures, 'some values of the maps are not finite', broken=True)
    broken = apart > MAPS_BAR[dtype]
    return Result(figures, 'the maps are not those of the normal form in float32'
                  if broken else '', broken)


def check_training(setup: Setup, dtype: str, with_cp: bool) -> Result:
    """Measures forward, backward and optimizer.

    Args:
        setup: What is checked.
        dtype: Of autocast; 'float32' for none.
        with_cp: With activation checkpointing in the backbone and the head.
    """
    model = copy.deepcopy(_random_model(setup.config, with_cp)).to(setup.device).train()
    optim_wrapper = _optim_wrapper(
        model, load_config(setup.config), setup.device, dtype)
    data = labelled_batch(model, setup.size, setup.batch_size)
    losses = []

    def step() -> None:
        losses.append(model.train_step(data, optim_wrapper)['loss'].detach())

    first_s, _ = _first_call(step, setup.device)
    seconds, peak_mib = measure_call(step, setup.device, _repeats(setup, first_s))
    figures = _speed(setup, seconds, peak_mib) | dict(
        first_s=first_s, loss=float(losses[-1]))
    if dtype == 'float16':
        figures['loss_scale'] = optim_wrapper.loss_scaler.get_scale()
    finite = math.isfinite(figures['loss'])
    return Result(figures, '' if finite else 'the loss is not finite', not finite)


def check_slide(setup: Setup) -> Result:
    """Looks for the cells of a slide twice: the first time everything starts."""
    cfg = load_config(setup.config)
    cfg.model = without_weights(cfg.model)
    with TemporaryDirectory() as folder:
        weights = Path(folder, 'random.pth')
        state_dict = _random_model(setup.config).state_dict()
        torch.save(dict(state_dict=state_dict, meta={}), weights)
        inferencer = CellInferencer(
            cfg, weights, device=setup.device, amp=setup.device != 'cpu')
        source, mpp, area_mm2 = _part_of_slide(setup.slide)
        seconds = []
        for _ in range(2):
            before = dict(inferencer.clock.seconds)
            start = time.perf_counter()
            cells = inferencer(source, mpp, tissue_only=False)
            seconds.append(time.perf_counter() - start)
    stages = {stage: total - before.get(stage, 0)
              for stage, total in inferencer.clock.seconds.items()}
    figures = dict(
        mm2=area_mm2, s_per_mm2=seconds[1] / area_mm2, first_s=seconds[0],
        idle_share=inferencer.clock.idle_share, cells=len(cells), stages_s=stages)
    part = '' if mpp is None else f'{PART_MM:g} x {PART_MM:g} mm of it as an image; '
    meaning = 'cells of random weights mean nothing' if len(
        cells) else 'random weights gave no cells, so that outlining them took no time'
    return Result(figures, part + meaning)


def _part_of_slide(path: str) -> tuple[Any, float | None, float]:
    """Returns a small slide itself, or the middle of a large one with its µm/px.

    Returns:
        Path or RGB image, uint8 (H, W, 3); µm/px of the image or None; mm².
    """
    reader = open_slide(path)
    if reader.mpp is None:
        raise ValueError(f'{path}: does not say its µm/px; take another slide')
    mm2 = math.prod(reader.shape) * (reader.mpp / 1000)**2
    if mm2 <= WHOLE_MM2:
        reader.close()
        return path, None, mm2
    side = round(1000 * PART_MM / reader.mpp)
    height, width = reader.shape
    image = reader.read(0, (width - side) // 2, (height - side) // 2, side, side)
    reader.close()
    return image, reader.mpp, PART_MM**2


def autocast(device: str, dtype: str) -> AbstractContextManager:
    """Returns a context that computes in half precision, or in float32 as it is."""
    half = dtype != 'float32'
    return torch.autocast(device, getattr(torch, dtype) if half else None, enabled=half)


def relative_difference(ours: Tensor, exact: Tensor) -> float:
    """Returns the largest difference by the largest value, NaN unless all is finite."""
    if not (ours.isfinite().all() and exact.isfinite().all()):
        return math.nan
    return float((ours - exact).abs().max() / exact.abs().max())


@lru_cache(maxsize=1)  # a ViT-L takes 10 s to fill with random numbers
def _random_model(config: str, with_cp: bool = False) -> nn.Module:
    """Builds the model of a config, on the CPU; the weights are always the same."""
    model_cfg = load_config(config).model
    if with_cp:
        model_cfg.backbone.with_cp = model_cfg.decode_head.with_cp = True
    torch.manual_seed(0)
    return build_without_weights(model_cfg)


def _optim_wrapper(model: nn.Module, cfg: Config, device: str,
                   dtype: str) -> OptimWrapper:
    """Builds what `tools/train.py` trains with, with or without `--amp`."""
    settings = copy.deepcopy(cfg.optim_wrapper)
    if dtype == 'float32':
        settings.type = 'OptimWrapper'
    elif device != 'cpu':
        settings.update(type='AmpOptimWrapper', dtype=dtype, loss_scale='dynamic')
    else:
        settings.type = 'CPUAmpOptimWrapper'
    optim_wrapper = build_optim_wrapper(model, settings)
    if settings.type == 'CPUAmpOptimWrapper':
        optim_wrapper.enabled = True  # also where this CPU is slow at it
    return optim_wrapper


def _flat(outputs: dict[str, Tensor]) -> Tensor:
    """Returns all maps of a batch as one (N, V) float32 tensor."""
    return torch.cat([maps.float().flatten(1) for maps in outputs.values()], dim=1)


def _training_types(device: str) -> list[str]:
    """Returns the types that MMEngine's optimizer wrappers, and ours, train in."""
    # There is no scaler for float16 on a CPU, and no autocast in training on MPS.
    left_out = dict(cpu=['float16'], mps=['float16', 'bfloat16']).get(device, [])
    return [dtype for dtype in MAPS_BAR if dtype not in left_out]


def _first_call(function: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Returns how long a call takes that also prepares the following, and its value."""
    start = time.perf_counter()
    value = function()
    synchronize(device)
    return time.perf_counter() - start, value


def _repeats(setup: Setup, first_s: float) -> int:
    """Returns how often to time what took so long at first; a GPU is always fast."""
    if setup.device != 'cpu':
        return setup.repeats
    return max(1, min(setup.repeats, int(PATIENCE_S / first_s)))


def _speed(setup: Setup, seconds: float, peak_mib: float) -> dict[str, float]:
    figures = dict(ms=1000 * seconds, images_per_s=setup.batch_size / seconds)
    # On a CPU the memory of the cases before would be in it; see complexity.py.
    return figures | (dict(peak_mib=peak_mib) if setup.device == 'cuda' else {})
