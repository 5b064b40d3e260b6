# CellViT over UNI, frozen, on CoNIC: the baseline of cellvta_uni_conic.py, with the
# same data, losses and schedule, but no adapter.
_base_ = './cellvta_uni_conic.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ViTTokenMaps',
        encoder={{_base_.model.backbone.encoder}}),
    decode_head=dict(
        in_strides=(1, 16, 16, 16, 16),  # px: a plain ViT has no pyramid
        bottleneck_conv=False))  # as in CellViT
