# A small CellVTA that learns from random weights on a CPU: nothing is frozen.
_base_ = './cellvta_uni.py'

norm_cfg = dict(type='BN')
model = dict(
    data_preprocessor=dict(  # ImageNet's statistics, RGB on the 0-255 scale
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            name='vit_tiny_patch16_224',
            weights=None,
            frozen=False,
            embed_dim=64,  # channels of the ViT and of every pyramid level
            depth=8,
            num_heads=2),
        conv_channels=16,
        deform_num_heads=4,
        drop_path_rate=0.0,
        norm_cfg=norm_cfg),
    decode_head=dict(
        channels=8, norm_cfg=norm_cfg,
        # With the paper's weights HV and the many small terms of NC are nine tenths of
        # the loss, and a network that starts from nothing learns late where nuclei are.
        loss_np=[
            dict(type='FocalTverskyLoss', loss_weight=2.0),
            dict(type='HoverDiceLoss', loss_weight=2.0),
            dict(type='CrossEntropyLoss', loss_weight=1.0)
        ],
        loss_hv=[
            dict(type='HVMSELoss', loss_weight=1.0),
            dict(type='HVGradientLoss', loss_weight=1.0)
        ],
        loss_nc=[
            dict(type='CrossEntropyLoss', loss_weight=0.5),
            dict(type='HoverDiceLoss', loss_weight=0.2),
            dict(type='MultiClassFocalTverskyLoss', loss_weight=0.1)
        ]))
