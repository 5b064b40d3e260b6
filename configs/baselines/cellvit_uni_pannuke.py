# CellViT over UNI, frozen, on PanNuke: the baseline of cellvta_uni_pannuke.py, with the
# same data, losses and schedule, but no adapter.
_base_ = ['../cellvta_uni_pannuke.py', '../_base_/models/cellvit.py']

model = _base_.cellvit
model.backbone.update(encoder=_base_.model.backbone.encoder, out_cls_token=True)
