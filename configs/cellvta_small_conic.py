# A small CellVTA on CoNIC for machines without a GPU: a ViT-S/16 (22 million weights,
# frozen) with narrow adapter and decoders, at the native 20x. For 256 x 256 px it takes
# 38 G multiply-adds; cellvta_uni_conic.py takes 262 G, and has 3.5 times the pixels.
_base_ = './cellvta_uni_conic_20x.py'

# ---- what people edit ----
encoder = 'DistillPath-IS16-HOpt0'  # any ViT-S/16 of docs/encoders.md

model = dict(
    backbone=dict(encoder=dict(name=encoder), conv_channels=32),
    decode_head=dict(
        channels=32,  # at full resolution
        bottleneck_channels=128))  # at 1/8; 8 x 32 would be 8 million weights more
