# Copyright (c) CellVTA-MMSeg contributors.
"""What only a GPU can tell; `check_gpu.py` measures the same at full size."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from rule_segmentor import draw_slide
from tiny_models import SEGMENTOR, build, square_sample

from mmseg_cellvta.inference import CellInferencer
from mmseg_cellvta.models.layers.deformable_attention import (
    COMPILED_ATTENTION,
    sample_compiled,
    sample_torch,
)
from mmseg_cellvta.models.layers.tokens import token_levels
from mmseg_cellvta.utils.gpu_check import (
    MAPS_BAR,
    OP_SHAPES,
    Setup,
    check_forward,
    check_training,
    op_inputs,
    sample_with_gradients,
)

pytestmark = pytest.mark.gpu


@pytest.fixture
def setup(tmp_path):
    path = tmp_path / 'tiny.py'
    optimizer = dict(type='AdamW', lr=1e-4)
    Config(dict(model=SEGMENTOR, optim_wrapper=dict(
        type='OptimWrapper', optimizer=optimizer))).dump(path)
    return Setup(str(path), 'cuda', batch_size=2, side=64, repeats=2)


@pytest.mark.skipif(COMPILED_ATTENTION is None, reason='needs mmcv built with CUDA')
@pytest.mark.parametrize('shape', OP_SHAPES)
def test_compiled_op_equals_the_torch_form_at_full_size(shape):
    num_queries, shapes = OP_SHAPES[shape]
    inputs = op_inputs(2, num_queries, shapes, 'cuda')
    levels = token_levels(shapes, inputs[0].device)
    ours, exact = (sample_with_gradients(sample, levels, *inputs)
                   for sample in (sample_compiled, sample_torch))
    for result, expected in zip(ours, exact, strict=True):
        bound = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(result, expected, rtol=0, atol=bound)


def test_maps_are_those_of_the_cpu(monkeypatch):
    # In TF32, torch's default, convolutions round to 11 bits.
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    model = build(SEGMENTOR).eval()
    inputs = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        exact = model(inputs, mode='tensor')
        ours = model.cuda()(inputs.cuda(), mode='tensor')
    for name, maps in exact.items():
        torch.testing.assert_close(ours[name].cpu(), maps, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('deploy', [False, True], ids=['normal', 'deploy'])
@pytest.mark.parametrize('dtype', MAPS_BAR)
def test_maps_in_each_type_are_near_those_in_float32(setup, dtype, deploy):
    result = check_forward(setup, dtype, deploy)
    assert not result.broken, result
    assert result.figures['peak_mib'] > 0


@pytest.mark.parametrize('with_cp', [False, True], ids=['', 'with_cp'])
@pytest.mark.parametrize('dtype', MAPS_BAR)
def test_training_steps_in_each_type_are_finite(setup, dtype, with_cp):
    result = check_training(setup, dtype, with_cp)
    assert not result.broken, result
    assert ('loss_scale' in result.figures) == (dtype == 'float16')


def test_forward_and_losses_never_wait_for_the_device():
    model = build(SEGMENTOR).cuda().train()
    data = model.data_preprocessor(dict(
        inputs=[torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)],
        data_samples=[square_sample(), square_sample()]), training=True)
    model(**data, mode='loss')  # makes what is kept for images of this size
    torch.cuda.set_sync_debug_mode('error')
    try:
        losses = model(**data, mode='loss')
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert all(loss.isfinite().all() for loss in losses.values())


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'amp'])
def test_cells_of_a_slide_are_those_of_the_cpu(rule_model, amp):
    image, centres, classes = draw_slide(700, 500)
    found = [CellInferencer(*rule_model, device=device, batch_size=4, amp=amp)(
        image, mpp=0.5) for device in ('cpu', 'cuda')]
    assert len(found[0]) == len(found[1]) == len(centres)
    np.testing.assert_allclose(found[1].centroids, found[0].centroids, atol=0.1)
    np.testing.assert_array_equal(found[1].labels, found[0].labels)
