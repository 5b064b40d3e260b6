# CellVTA with UNI, frozen, on your own data; see docs/your_own_data.md.
_base_ = [
    './_base_/models/cellvta_uni.py', './_base_/datasets/custom.py',
    './_base_/schedules/schedule_iters.py'
]

# ---- what people edit ----
# UNI is gated: ask for access at https://huggingface.co/MahmoodLab/UNI and log in with
# `hf auth login`, or name a local file.
encoder_weights = 'published'
data_root = 'data/custom'  # from tools/dataset_converters/custom.py
num_classes = 2  # with background: one more than in --classes
mpp = 0.25  # µm/px in which the network sees every picture; 0.25 is 40x
max_iters = 20000  # steps
batch_size = 8  # crops of 256 x 256 px per GPU, for a learning rate of 3e-4
learning_rate = 3e-4

# Every picture is brought to this scale, whatever its scanner.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
train_pipeline[2].update(mpp=mpp)
test_pipeline[1].update(mpp=mpp)
tta_pipeline[1].transforms[0][0].update(mpp=mpp)

model = dict(
    backbone=dict(encoder=dict(weights=encoder_weights)),
    decode_head=dict(num_classes=num_classes),
    post_processor=dict(mpp=mpp),
    # Tile by tile, so that large pictures fit into memory; (height, width) px.
    test_cfg=dict(mode='slide', crop_size=(256, 256), stride=(192, 192)))
dataset = dict(data_root=data_root, num_classes=num_classes)
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
optim_wrapper = dict(
    optimizer=dict(lr=learning_rate, betas=(0.85, 0.95), weight_decay=1e-4))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=learning_rate, total_steps=max_iters,
         pct_start=0.1, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
