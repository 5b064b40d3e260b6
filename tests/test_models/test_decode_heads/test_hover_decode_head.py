# Copyright (c) CellVTA-MMSeg contributors.
import pytest
import torch
from tiny_models import CLASSES, DIMS, HEAD, build, square_sample

from mmseg_cellvta.models.decode_heads.hover_decode_head import split_maps


def features(cls_token=False, strides=(1, 2, 4, 8, 16)):
    maps = [torch.randn(2, DIMS if i else 3, 64 // stride, 64 // stride)
            for i, stride in enumerate(strides)]
    return maps + [torch.randn(2, DIMS)] * cls_token


@pytest.mark.parametrize('strides', [
    (1, 2, 4, 8, 16), (1, 4, 8, 16, 16), (1, 16, 16, 16, 16)])
def test_three_branches_predict_at_full_resolution(strides):
    outputs = build(HEAD, in_strides=strides)(features(strides=strides))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == dict(
        np=(2, 2, 64, 64), hv=(2, 2, 64, 64), nc=(2, CLASSES, 64, 64))


def test_tissue_head_reads_the_class_token_alone():
    head = build(HEAD, tissue_classes=('Colon', 'Breast', 'Lung')).eval()
    first, second = features(cls_token=True), features(cls_token=True)
    second[-1] = first[-1]
    torch.testing.assert_close(head(first)['tissue'], head(second)['tissue'])
    assert head(first)['tissue'].shape == (2, 3)


def test_skip_encoders_run_once_per_forward():
    head = build(HEAD)
    calls = []
    for encoder in head.skip_encoders:
        encoder.register_forward_hook(lambda *_: calls.append(1))
    head(features())
    assert len(calls) == 4


def test_losses_carry_their_weights_and_names():
    samples = [square_sample(), square_sample()]
    outputs = build(HEAD)(features())
    once = build(HEAD).loss_by_feat(outputs, samples)
    twice = build(HEAD, loss_hv=[dict(type='HVMSELoss', loss_weight=2.0)]).loss_by_feat(
        outputs, samples)
    assert set(once) == {
        'loss_np_focal_tversky', 'loss_np_dice', 'loss_hv_mse', 'loss_hv_msge',
        'loss_nc_ce', 'acc_np'
    }
    torch.testing.assert_close(twice['loss_hv_mse'], 2 * once['loss_hv_mse'])


def test_perfect_maps_have_almost_no_loss():
    sample = square_sample()
    nuclei = sample.gt_inst_map.data.long()
    one_hot = torch.nn.functional.one_hot(nuclei, CLASSES).movedim(-1, 1)
    outputs = dict(
        np=100.0 * one_hot[:, :2], nc=100.0 * one_hot, hv=sample.gt_hv_map.data[None])
    losses = build(HEAD).loss_by_feat(outputs, [sample])
    assert losses.pop('acc_np') == 100
    assert all(value < 1e-4 for value in losses.values()), losses


def test_tissue_loss_takes_the_name_from_the_sample():
    head = build(
        HEAD,
        tissue_classes=('Colon', 'Breast'),
        loss_tissue=dict(type='CrossEntropyLoss', loss_weight=0.1))
    outputs = head(features(cls_token=True))
    samples = [square_sample(tissue='Breast'), square_sample(tissue='Colon')]
    expected = 0.1 * torch.nn.functional.cross_entropy(
        outputs['tissue'], torch.tensor([1, 0]))
    losses = head.loss_by_feat(outputs, samples)
    torch.testing.assert_close(losses['loss_tissue_ce'], expected)
    with pytest.raises(ValueError, match="'Skin' is not among.*Colon"):
        head.loss_by_feat(outputs, [square_sample(tissue='Skin')] * 2)


def test_every_parameter_gets_a_gradient():
    head = build(HEAD)
    losses = head.loss_by_feat(head(features()), [square_sample(), square_sample()])
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None] == []


def test_prediction_is_probabilities_around_raw_hv():
    head = build(HEAD).eval()
    outputs = head(features())
    np_map, hv_map, nc_map = split_maps(head.predict_by_feat(outputs, []))
    torch.testing.assert_close(np_map.sum(1), torch.ones(2, 64, 64))
    torch.testing.assert_close(nc_map.sum(1), torch.ones(2, 64, 64))
    torch.testing.assert_close(hv_map, outputs['hv'])


def test_losses_do_not_depend_on_autocast():
    head = build(HEAD)
    outputs = head(features())
    samples = [square_sample(), square_sample()]
    exact = head.loss_by_feat(outputs, samples)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = head.loss_by_feat(outputs, samples)
    for name, value in exact.items():
        torch.testing.assert_close(rough[name], value)


def convolutions(module):
    """(kind, input channels, output channels) of the convolutions, in order."""
    return [(type(m).__name__, m.in_channels, m.out_channels) for m in module.modules()
            if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]


def test_maps_of_a_plain_vit_are_enlarged_step_by_step():
    head = build(HEAD, in_strides=(1, 16, 16, 16, 16), bottleneck_conv=False)
    up, conv = 'ConvTranspose2d', 'Conv2d'  # widths are 2, 4, 8, 16
    steps = [(up, DIMS, 16), (conv, 16, 16), (up, 16, 8), (conv, 8, 8),
             (up, 8, 4), (conv, 4, 4)]
    assert [convolutions(encoder) for encoder in head.skip_encoders] == [
        [(conv, 3, 1), (conv, 1, 2)], steps, steps[:4], steps[:2]]
    assert convolutions(head.branches['hv'].bottleneck) == [(up, DIMS, 16)]


def test_checkpoint_for_another_number_of_classes_is_refused():
    state = build(HEAD, num_classes=7).state_dict()
    with pytest.raises(ValueError, match='predicts 7 .*the model 3.*num_classes=7'):
        build(HEAD).load_state_dict(state, strict=False)


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(in_channels=[DIMS] * 4), 'in_channels=.*expected five'),
    *((dict(in_strides=strides), r'in_strides=\(.*expected the image') for strides in (
        (1, 2, 4, 8), (2, 2, 4, 8, 16), (1, 2, 2, 8, 16), (1, 3, 4, 8, 16),
        (1, 2, 4, 8, 32)))])
def test_inputs_that_no_encoder_fits_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(HEAD, **changes)
