# A CNN on CoNIC: HoVer-Net-like, a ResNet-50 with the branches of cellvta_uni_conic.py.
#
# HoVer-Net itself (arXiv:1812.06499) has a pre-activation ResNet-50 without max pooling
# and dense decoders; its weights do not fit. As there, the last stage is dilated.
_base_ = '../cellvta_uni_conic.py'

# ---- what people edit ----
encoder_weights = 'open-mmlab://resnet50_v1c'  # ImageNet; None for random weights
learning_rate = 1e-4  # HoVer-Net's; all weights are trained

norm_cfg = dict(type='SyncBN')
model = dict(
    data_preprocessor=dict(  # ImageNet's statistics, RGB on the 0-255 scale
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True, type='ResNetV1c', depth=50,
        strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True,
        norm_cfg=norm_cfg, norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint=encoder_weights)),
    decode_head=dict(
        in_channels=[3, 256, 512, 1024, 2048],
        in_strides=(1, 4, 8, 16, 16)))  # px of the image and of the four stages
optim_wrapper = dict(optimizer=dict(lr=learning_rate))
