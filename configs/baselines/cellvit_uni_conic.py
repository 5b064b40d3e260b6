# CellViT over UNI, frozen, on CoNIC: the baseline of cellvta_uni_conic.py, with the
# same data, losses and schedule, but no adapter.
_base_ = ['../cellvta_uni_conic.py', '../_base_/models/cellvit.py']

model = _base_.cellvit
model.backbone.encoder = _base_.model.backbone.encoder
