# CellViT over UNI, frozen, on PanNuke: the baseline of cellvta_uni_pannuke.py, with the
# same data, losses and schedule, but no adapter.
_base_ = './cellvta_uni_pannuke.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ViTTokenMaps', out_cls_token=True,
        encoder={{_base_.model.backbone.encoder}}),
    decode_head=dict(
        in_strides=(1, 16, 16, 16, 16),  # px: a plain ViT has no pyramid
        bottleneck_conv=False))  # as in CellViT
