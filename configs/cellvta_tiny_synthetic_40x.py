# The demo at 40x: patches are enlarged twice, tested in overlapping tiles, and scored
# at their native 20x.
_base_ = './cellvta_tiny_synthetic.py'

# ---- what people edit ----
mpp = 0.25  # µm/px in the network; the patches have 0.5
crop_size = (192, 192)  # (height, width) px of a training crop
batch_size = 2  # crops per step

model = dict(
    post_processor=dict(mpp=mpp),
    test_cfg=dict(  # (rows, columns) px; maps are blended over 64 px
        mode='slide', crop_size=(256, 256), stride=(192, 192)))
enlarge = dict(type='ResizeToMpp', mpp=mpp, source_mpp=0.5)
loading, labels, _, *augmentation = _base_.train_pipeline
crop = dict(type='RandomCrop', crop_size=crop_size)
train_pipeline = [loading, labels, enlarge, crop, *augmentation]
# Labels after enlarging: they keep their pixels.
test_pipeline = [loading, enlarge, labels, dict(type='PackCellInputs')]
tta_pipeline = [loading, enlarge, *_base_.tta_pipeline[1:]]
train_dataloader = dict(batch_size=batch_size, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
