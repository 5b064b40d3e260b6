# What the authors' released code does and their paper does not say, number for number.
# The leaf configs of their checkpoints add what differs between CoNIC and PanNuke.
released = dict(
    data_preprocessor=dict(  # to [-1, 1], not the statistics of UNI's pre-training
        mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        encoder=dict(
            weights=None,  # the converted checkpoint carries the encoder
            drop_path_rate=0.4),  # in the frozen blocks, from 0 in the first
        cls_token='beside',  # it skips all blocks, so the tissue logits are constant
        out_cls_token=True,
        injector_init=1e-5,
        offset_init='zero',
        drop_path_rate=0.4),
    decode_head=dict(
        loss_np=[
            dict(type='FocalTverskyLoss', loss_weight=1.0, softmax='twice'),
            dict(type='HoverDiceLoss', loss_weight=1.0)
        ],
        loss_hv=[
            dict(type='HVMSELoss', loss_weight=2.5),
            dict(type='HVGradientLoss', loss_weight=8.0, axes='swapped')
        ],
        loss_nc=[
            dict(type='CrossEntropyLoss', loss_weight=0.5),
            dict(type='HoverDiceLoss', loss_weight=0.2),
            dict(type='MultiClassFocalTverskyLoss', loss_weight=0.5, softmax='twice')
        ]),
    post_processor=dict(
        mpp=0.25,  # µm/px for which sizes are meant, whatever the images have
        markers='hovernet'))
