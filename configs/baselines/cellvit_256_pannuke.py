# CellViT-256 on PanNuke, for its converted checkpoint, which carries the encoder; see
# tools/model_converters/cellvit_to_mmseg.py.
_base_ = './cellvit_uni_pannuke.py'

# ---- what people edit ----
encoder_weights = None  # or a file of HIPT's ViT-256 with timm's names, to train

model = dict(
    data_preprocessor=dict(  # to [-1, 1]
        mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(encoder=dict(name='vit_small_patch16_224', weights=encoder_weights)),
    # CellViT narrows its decoders for an encoder of less than 512 channels.
    decode_head=dict(bottleneck_channels=312, path_channels=(128, 256)))
