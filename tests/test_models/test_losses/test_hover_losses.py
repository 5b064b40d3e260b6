# Copyright (c) CellVTA-MMSeg contributors.
import math

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

RELEASED = dict(
    np=[dict(type='FocalTverskyLoss', softmax='twice'),
        dict(type='HoverDiceLoss')],
    hv=[dict(type='HVMSELoss'), dict(type='HVGradientLoss', axes='swapped')],
    tp=[dict(type='CrossEntropyLoss'), dict(type='HoverDiceLoss'),
        dict(type='MultiClassFocalTverskyLoss', softmax='twice')])
GOLDEN_NAMES = dict(
    np=['focaltversky', 'dice'],
    hv=['mse', 'msge'],
    tp=['ce', 'dice', 'mcfocaltversky'])
CONIC_WEIGHTS = dict(np=[1, 1], hv=[2.5, 8], tp=[0.5, 0.2, 0.5])


def confident_logits(target, num_classes):
    """Logits whose softmax is the one-hot target."""
    one_hot = torch.nn.functional.one_hot(target, num_classes)
    return 100.0 * one_hot.movedim(-1, 1)


def test_released_forms_give_the_released_values(shared_dir):
    golden = np.load(shared_dir / 'golden/losses.npz')
    tensors = {
        key: torch.from_numpy(golden[key])
        for key in ('logits_np', 'hv', 'gt_hv', 'logits_tp')
    }
    nuclei = torch.from_numpy(golden['gt_inst'] > 0)
    arguments = dict(
        np=(tensors['logits_np'], nuclei.long()),
        hv=(tensors['hv'], tensors['gt_hv'], nuclei),
        tp=(tensors['logits_tp'], torch.from_numpy(golden['gt_type'].astype(np.int64))))
    total = 0
    for branch, cfgs in RELEASED.items():
        for cfg, name, weight in zip(
                cfgs, GOLDEN_NAMES[branch], CONIC_WEIGHTS[branch], strict=True):
            value = MODELS.build(cfg)(*arguments[branch]).item()
            assert value == pytest.approx(
                golden[f'loss_{branch}_{name}'].item(), rel=1e-5), (branch, name)
            total += weight * value
    assert total == pytest.approx(golden['loss_total'].item(), rel=1e-5)


def test_one_softmax_lets_a_perfect_prediction_reach_zero():
    target = torch.randint(0, 2, (2, 8, 8))
    logits = confident_logits(target, 2)
    for name in ('FocalTverskyLoss', 'MultiClassFocalTverskyLoss', 'HoverDiceLoss'):
        loss = MODELS.build(dict(type=name))(logits, target)
        assert loss.item() == pytest.approx(0, abs=1e-6), name


def test_two_softmaxes_leave_the_floor_that_the_paper_trains_on():
    target = torch.randint(0, 2, (2, 8, 8))
    loss = MODELS.build(dict(type='FocalTverskyLoss', softmax='twice'))
    # The best that sigmoid(1) allows: (1 - 0.7311)^(4/3).
    floor = (1 - 1 / (1 + math.exp(-1)))**(4 / 3)
    value = loss(confident_logits(target, 2), target).item()
    assert value == pytest.approx(floor, abs=1e-5) and round(floor, 4) == 0.1736


def test_multiclass_tversky_by_hand():
    # Two pixels of class 0 and 1, predicted 0.8/0.2 and 0.4/0.6.
    probs = torch.tensor([[[[0.8, 0.4]], [[0.2, 0.6]]]])
    target = torch.tensor([[[0, 1]]])
    index0 = 0.8 / (0.8 + 0.7 * 0.2 + 0.3 * 0.4)
    index1 = 0.6 / (0.6 + 0.7 * 0.4 + 0.3 * 0.2)
    expected = (1 - index0)**(4 / 3) + (1 - index1)**(4 / 3)
    loss = MODELS.build(dict(type='MultiClassFocalTverskyLoss', loss_weight=0.5))
    assert loss(probs.log(), target).item() == pytest.approx(0.5 * expected, rel=1e-5)


def test_gradient_loss_sees_an_error_along_the_axis_of_its_map():
    x_ramp = torch.zeros(1, 2, 16, 16)
    x_ramp[:, 0] = torch.arange(16.0)
    nuclei = torch.zeros(1, 16, 16, dtype=torch.bool)
    nuclei[:, 4:12, 4:12] = True  # away from the padded border
    none = torch.zeros_like(x_ramp)
    matching = MODELS.build(dict(type='HVGradientLoss'))
    swapped = MODELS.build(dict(type='HVGradientLoss', axes='swapped'))
    # Sum over the kernel of x * x / (x^2 + y^2): 25 cells, half of their 24 outer ones.
    assert matching(x_ramp, none, nuclei).item() == pytest.approx(12**2 / 2, rel=1e-4)
    assert swapped(x_ramp, none, nuclei).item() == pytest.approx(0, abs=1e-6)


def test_gradient_loss_does_not_look_outside_nuclei():
    loss = MODELS.build(dict(type='HVGradientLoss'))
    noise = torch.randn(1, 2, 16, 16)
    nothing = torch.zeros(1, 16, 16, dtype=torch.bool)
    assert loss(noise, torch.zeros_like(noise), nothing).item() == 0


def test_mse_counts_every_pixel_of_both_maps():
    hv = torch.zeros(1, 2, 4, 4)
    hv[0, 0, 0, 0] = 4.0
    loss = MODELS.build(dict(type='HVMSELoss', loss_weight=2.5))
    assert loss(hv, torch.zeros_like(hv), None).item() == pytest.approx(2.5 * 16 / 32)


def test_a_prediction_of_exactly_one_has_a_finite_gradient():
    target = torch.zeros(1, 64, 64, dtype=torch.long)
    logits = confident_logits(target, 2).requires_grad_()
    MODELS.build(dict(type='FocalTverskyLoss'))(logits, target).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('cfg, message', [
    (dict(type='FocalTverskyLoss', softmax='thrice'), "'thrice'.*once.*twice"),
    (dict(type='HVGradientLoss', axes='both'), "'both'.*matching.*swapped"),
])
def test_unknown_forms_are_refused_with_the_choices(cfg, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)


def test_no_loss_makes_an_int64_map_of_every_class():
    """Eight bytes per pixel and class, on the way to four."""
    logits, target = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(out):
                if isinstance(tensor, torch.Tensor) and tensor.numel() > target.numel():
                    assert tensor.dtype == torch.float32
            return out

    for name in ('FocalTverskyLoss', 'MultiClassFocalTverskyLoss', 'HoverDiceLoss'):
        with Watch():
            MODELS.build(dict(type=name))(logits, target)
