# Copyright (c) CellVTA-MMSeg contributors.
import math

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict

from mmseg_cellvta.models import CellClassifier


def copy_token(num_classes=3, **kwargs):
    """A classifier whose logits are the token itself, where it is positive."""
    model = CellClassifier(2, num_classes, hidden_channels=2, dropout=0, **kwargs)
    for layer in (model.fc1, model.fc2):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return model


def test_classes_begin_after_background():
    tokens = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 3.0]])
    nuclei = copy_token()(tokens, torch.tensor([1, 2, 1]), mode='predict')
    assert nuclei == [
        dict(pred_label=1, gt_label=1), dict(pred_label=2, gt_label=2),
        dict(pred_label=2, gt_label=1)]


def test_background_has_no_probability():
    probs = copy_token().class_probs(torch.tensor([[math.log(3), 0.0]]))
    torch.testing.assert_close(probs, torch.tensor([[0.0, 0.75, 0.25]]))
    assert copy_token().class_probs(torch.zeros(0, 2)).shape == (0, 3)


def test_loss_is_the_weighted_cross_entropy():
    tokens = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    labels = torch.tensor([1, 2])
    plain = copy_token()(tokens, labels, mode='loss')
    expected = -(math.log(0.75) + math.log(0.25)) / 2
    assert plain['loss_cell_ce'].item() == pytest.approx(expected)
    assert plain['acc_cell'].item() == 50
    weighted = copy_token(class_weight=[1, 3])(tokens, labels, mode='loss')
    expected = -(math.log(0.75) + 3 * math.log(0.25)) / 4
    assert weighted['loss_cell_ce'].item() == pytest.approx(expected)


def test_weights_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match='has 3 numbers: expected 2'):
        CellClassifier(2, 3, class_weight=[1, 1, 1])


def test_a_checkpoint_without_weights_of_the_loss_is_complete():
    state = copy_token(class_weight=[1, 3]).state_dict()
    assert set(state) == {'fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias'}


@pytest.mark.parametrize(('state', 'message'), [
    ({}, 'fc1.weight is missing in the checkpoint'),
    (copy_token(4).state_dict(), r'fc2.weight is of shape \(3, 2\) in the checkpoint'),
])
def test_a_checkpoint_of_something_else_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        load_state_dict(copy_token(), state)
