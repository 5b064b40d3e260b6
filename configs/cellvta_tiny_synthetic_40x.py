# The demo at 40x: patches are enlarged twice, tested in overlapping tiles, and scored
# at their native 20x.
_base_ = './cellvta_tiny_synthetic.py'

# ---- what people edit ----
crop_size = (192, 192)  # (height, width) px of a training crop
batch_size = 2  # crops per step

model = dict(
    mpp=0.25,  # µm/px in the network; the patches have 0.5
    test_cfg=dict(  # (rows, columns) px; maps are blended over 64 px
        mode='slide', crop_size=(256, 256), stride=(192, 192)))
train_pipeline = [
    *_base_.loading, dict(type='RandomCrop', crop_size=crop_size),
    *_base_.augmentation
]
train_dataloader = dict(batch_size=batch_size, dataset=dict(pipeline=train_pipeline))
