# CellViT over SAM ViT-B on PanNuke, in its paper's steps (arXiv:2306.15350): 25 epochs
# with a frozen encoder, then all is trained. Augmentation is that of CellVTA.
_base_ = './cellvit_uni_pannuke.py'

# ---- what people edit ----
encoder = 'SAM-B'
frozen_epochs = 25
max_epochs = 130
batch_size = 16  # patches per GPU, for a learning rate of 3e-4

model = dict(
    data_preprocessor=dict(  # to [-1, 1], as CellViT and not as SAM
        mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(encoder=dict(name=encoder)),
    decode_head=dict(tissue_channels=256))  # of SAM's neck: it has no class token
train_dataloader = dict(batch_size=batch_size)
train_cfg = dict(max_epochs=max_epochs)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='UnfreezeEncoderHook', epoch=frozen_epochs)
]
