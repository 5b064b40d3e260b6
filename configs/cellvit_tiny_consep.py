# A small CellViT, the baseline of cellvta_tiny_consep.py: the same ViT, data, losses
# and steps, but no adapter; the head enlarges the ViT's own maps.
_base_ = './cellvta_tiny_consep.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ViTTokenMaps',
        encoder={{_base_.model.backbone.encoder}}),
    decode_head=dict(
        in_strides=(1, 16, 16, 16, 16),  # px: a plain ViT has no pyramid
        bottleneck_conv=False))  # as in CellViT
