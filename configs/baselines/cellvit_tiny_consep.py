# A small CellViT, the baseline of cellvta_tiny_consep.py: the same ViT, data, losses
# and steps, but no adapter.
_base_ = ['../cellvta_tiny_consep.py', '../_base_/models/cellvit.py']

model = _base_.cellvit
model.backbone.encoder = _base_.model.backbone.encoder
