# CellViT (arXiv:2306.15350) in place of CellVTA: no adapter, the head enlarges the own
# maps of the ViT. A leaf config adds the encoder of the model whose baseline it is.
cellvit = dict(
    backbone=dict(_delete_=True, type='ViTTokenMaps'),
    decode_head=dict(
        in_strides=(1, 16, 16, 16, 16),  # px: a plain ViT has no pyramid
        bottleneck_conv=False))  # as in CellViT
