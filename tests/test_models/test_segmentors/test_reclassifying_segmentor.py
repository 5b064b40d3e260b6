# Copyright (c) CellVTA-MMSeg contributors.
import math

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import InstanceData
from tiny_models import DIMS, HEAD, SEGMENTOR, build, square_sample

from mmseg_cellvta.models import CellClassifier, CellTTAModel

CLASSES = 4  # of the classifier, with background; the segmentor knows 'nucleus'
MODEL = dict(
    SEGMENTOR,
    type='ReclassifyingSegmentor',
    decode_head=dict(HEAD, num_classes=2),
    cell_classifier=dict(type='CellClassifier', num_classes=CLASSES))


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


@pytest.fixture
def model():
    """Its classifier asks whether the first two channels of a token are above 0."""
    model = build(MODEL).eval()
    classifier = model.cell_classifier
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.zero_()
        classifier.fc1.weight[[0, 1], [0, 1]] = 1
        classifier.fc2.weight[[0, 2], [0, 1]] = 1
    return model


def two_nuclei(size=64):
    """Maps (6, H, W) with two square nuclei, left and right, and tokens that differ.

    The left nucleus is of class 1 by its tokens, the right one of class 3.
    """
    maps = torch.zeros(6, size, size)
    nuclei = torch.zeros(size, size)
    ramp = torch.linspace(-1, 1, 12)
    for left in (2, 50):
        window = slice(20, 32), slice(left, left + 12)
        nuclei[window] = 1
        maps[2][window] = ramp
        maps[3][window] = ramp[:, None]
    maps[0], maps[1] = 1 - nuclei, nuclei
    maps[4], maps[5] = 1 - nuclei, nuclei
    tokens = torch.zeros(DIMS, size // 16, size // 16)
    tokens[0, :, 0] = 2
    tokens[1, :, 3] = 5
    return maps, tokens


def test_labels_are_the_classifiers_and_outlines_the_segmentors(model):
    maps, tokens = two_nuclei()
    sample, = model.postprocess_result([(maps, tokens)], [square_sample()])
    nuclei = sample.pred_instances
    assert isinstance(nuclei, InstanceData) and len(nuclei) == 2
    np.testing.assert_array_equal(nuclei.labels, [1, 3])
    assert nuclei.class_probs.shape == (2, CLASSES)
    np.testing.assert_allclose(nuclei.class_probs.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        nuclei.scores, [np.exp(2) / (np.exp(2) + 2), np.exp(5) / (np.exp(5) + 2)],
        rtol=1e-5)
    np.testing.assert_array_equal(nuclei.embeddings[:, :2], [[2, 0], [0, 5]])
    inst_map = sample.pred_inst_map.data[0]
    assert ((inst_map > 0) == maps[1].bool()).float().mean() > 0.99
    class_map = sample.pred_sem_seg.data[0]
    assert torch.equal(class_map, torch.tensor([0, 1, 3])[inst_map.long()])


def test_boxes_are_brought_to_the_pixels_that_the_network_saw(model):
    maps, tokens = two_nuclei()
    sample = square_sample()
    sample.set_metainfo(dict(ori_shape=(200, 100)))  # seen as 64 x 64 px
    model.postprocess_result([(maps, tokens)], [sample])
    np.testing.assert_array_equal(sample.pred_instances.labels, [1, 3])
    assert sample.pred_inst_map.shape == (200, 100)


def test_an_image_without_nuclei(model):
    maps, tokens = two_nuclei()
    maps[1] = 0
    sample, = model.postprocess_result([(maps, tokens)], [square_sample()])
    assert len(sample.pred_instances) == 0
    assert sample.pred_instances.embeddings.shape == (0, DIMS)
    assert sample.pred_sem_seg.data.max() == 0


def test_the_whole_way_from_an_image(model):
    with torch.no_grad():
        result, = model(torch.randn(1, 3, 64, 96), mode='predict')
    assert result.pred_inst_map.shape == (64, 96)
    assert result.pred_instances.class_probs.shape[1] == CLASSES


def test_views_of_test_time_augmentation_share_maps_and_tokens(model):
    tta = CellTTAModel(model)
    maps, tokens = two_nuclei()
    # One view speaks for class 3 of the left nucleus, more loudly.
    other = tokens.clone()
    other[1, :, 0] = 9
    sample, = tta.merge_preds(
        [[(maps, tokens)], [(maps, other)]], [square_sample()])
    np.testing.assert_array_equal(sample.pred_instances.labels, [3, 3])
    np.testing.assert_allclose(sample.pred_instances.embeddings[0, :2], [2, 4.5])


def test_maps_alone_are_refused(model):
    with pytest.raises(ValueError, match="mode='predict'"):
        model.encode_decode(torch.zeros(1, 3, 64, 64), [{}])
