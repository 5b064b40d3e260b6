# Copyright (c) CellVTA-MMSeg contributors.
"""What all backbones over a ViT share."""
import pytest
import torch
from tiny_models import BACKBONE, ENCODER, build

BACKBONES = [
    BACKBONE, dict(type='ViTTokenMaps', encoder=dict(ENCODER, init_values=None))]


@pytest.mark.parametrize('backbone', BACKBONES)
def test_init_weights_leaves_every_tensor_bit_identical(backbone):
    model = build(backbone)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('height, width', [(50, 64), (64, 50)])
def test_a_side_that_is_no_multiple_of_sixteen_is_refused_with_the_fix(
        backbone, height, width):
    with pytest.raises(ValueError, match=f'{height} x {width} px.*size_divisor=16'):
        build(backbone)(torch.randn(1, 3, height, width))
