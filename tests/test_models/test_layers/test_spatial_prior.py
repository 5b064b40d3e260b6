# Copyright (c) CellVTA-MMSeg contributors.
import pytest
import torch
from tiny_models import ENCODER

from mmseg_cellvta.models.encoders import TimmEncoder
from mmseg_cellvta.models.layers.spatial_prior import SpatialPriorModule


def seen_centre(function, row, column, size=(224, 320)):
    """Centre (y, x) px of what a place of a (1, C, h, w) map sees of an image."""
    image = torch.rand(1, 3, *size, requires_grad=True)
    function(image)[0, :, row, column].square().sum().backward()
    weight = image.grad[0].abs().sum(0)
    y, x = (torch.arange(side) + 0.5 for side in size)
    return torch.stack([weight.sum(1) @ y, weight.sum(0) @ x]) / weight.sum()


@pytest.fixture(scope='module')
def branch():
    """With equal weights, so that only the geometry says where a place looks."""
    branch = SpatialPriorModule(4, 16, dict(type='BN')).eval()
    for parameter in branch.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    return branch


@pytest.mark.parametrize('level, stride', [(0, 2), (1, 4), (2, 8), (3, 16)])
def test_levels_have_their_stride_and_width(branch, level, stride):
    levels = branch(torch.rand(1, 3, 224, 320))
    channels = 4 if level == 0 else 16  # the 1/2 map is widened where it is needed
    assert levels[level].shape == (1, channels, 224 // stride, 320 // stride)


@pytest.mark.parametrize('patch', [8, 14, 16])
def test_the_grids_of_branch_and_encoder_lie_over_each_other(branch, patch):
    """Within half a token: each of four strided convolutions looks up and left."""
    encoder = TimmEncoder(**ENCODER, patch_size=patch)
    torch.nn.init.constant_(encoder.vit.patch_embed.proj.weight, 0.1)

    def tokens(image):
        return encoder.embed(image)[:, 1:].mT.unflatten(2, (14, 20))

    for row, column in ((4, 5), (7, 9), (9, 14)):
        token = seen_centre(tokens, row, column)
        middle = torch.tensor([row, column]) * 16.0 + 8
        torch.testing.assert_close(token, middle, atol=0.1, rtol=0)  # px
        shift = seen_centre(lambda image: branch(image)[3], row, column) - token
        torch.testing.assert_close(shift, torch.full((2, ), -7.5), atol=0.1, rtol=0)
