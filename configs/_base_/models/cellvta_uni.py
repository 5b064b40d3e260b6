# CellVTA over UNI (ViT-L/16), as the paper describes it (arXiv:2504.00784).
norm_cfg = dict(type='SyncBN')  # BatchNorm over all GPUs; plain BatchNorm on one
model = dict(
    type='CellSegmentor',
    mpp=0.25,  # µm/px at which the network sees images; 0.25 is 40x
    data_preprocessor=dict(
        type='CellDataPreProcessor',
        # Mean and std are those of the encoder's own pre-training unless given here.
        bgr_to_rgb=True,
        size_divisor=16,  # px, one ViT patch
        test_cfg=dict(size_divisor=16)),
    backbone=dict(
        type='CellVTAAdapter',
        # Any other of docs/encoders.md: only the name changes.
        encoder=dict(name='UNI', weights='published', frozen=True),
        conv_channels=64,
        injection_stages=(0, 1, 2, 3),
        injector_init=0.0,
        cls_token='in_blocks',
        deform_num_heads=8,
        deform_num_points=4,
        deform_ratio=0.5,
        offset_init='directional',
        conv_ffn_ratio=0.25,
        drop_path_rate=0.1,
        num_extra_extractors=2,
        norm_cfg=norm_cfg),
    decode_head=dict(
        type='HoverDecodeHead',
        channels=64,
        num_classes=7,
        norm_cfg=norm_cfg,
        loss_np=[
            dict(type='FocalTverskyLoss', loss_weight=1.0),
            dict(type='HoverDiceLoss', loss_weight=1.0)
        ],
        loss_hv=[
            dict(type='HVMSELoss', loss_weight=2.5),
            dict(type='HVGradientLoss', loss_weight=8.0)
        ],
        loss_nc=[
            dict(type='CrossEntropyLoss', loss_weight=0.5),
            dict(type='HoverDiceLoss', loss_weight=0.2),
            dict(type='MultiClassFocalTverskyLoss', loss_weight=0.5)
        ]),
    post_processor=dict(
        type='HoverPostProcessor',
        # Of CoNSeP's true nuclei, given perfect maps, 98 % come back; with HoVer-Net's
        # own markers, 'hovernet', 94 %. See docs/benchmarks.md.
        markers='rising'),
    test_cfg=dict(mode='whole'))
