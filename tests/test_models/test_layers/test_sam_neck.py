# Copyright (c) CellVTA-MMSeg contributors.
import timm
import torch

from mmseg_cellvta.models.backbones.vit_token_maps import SamNeck


def test_neck_is_that_of_sam_averaged():
    theirs = timm.create_model(
        'samvit_base_patch16', num_classes=0, embed_dim=32, depth=1, num_heads=2).neck
    ours = SamNeck(32)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 32, 4, 6)
    torch.testing.assert_close(ours(x), theirs(x).mean(dim=(2, 3)))
