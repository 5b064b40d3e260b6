# The authors' released code, number for number, for their CoNIC checkpoints.
#
# Convert a checkpoint with tools/model_converters/cellvta_to_mmseg.py; it carries the
# encoder, so nothing is downloaded. What differs from cellvta_uni_conic.py is what
# their code does and their paper does not say.
_base_ = './cellvta_uni_conic.py'

model = dict(
    data_preprocessor=dict(  # to [-1, 1], not the statistics of UNI's pre-training
        mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        encoder=dict(
            weights=None,
            drop_path_rate=0.4),  # in the frozen blocks, from 0 in the first
        cls_token='beside',  # it skips all blocks, so the tissue logits are constant
        out_cls_token=True,
        injector_init=1e-5,
        offset_init='zero',
        drop_path_rate=0.4),
    decode_head=dict(
        tissue_classes=('Colon', ),  # without a loss on CoNIC
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
    post_processor=dict(mpp=0.25, markers='hovernet'))  # sizes in px for 40x
find_unused_parameters = True  # the tissue head has no loss
