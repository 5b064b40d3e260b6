# A small CellVTA on your own data, from random weights, on a CPU; see
# docs/your_own_data.md.
_base_ = [
    './_base_/models/cellvta_tiny.py', './_base_/datasets/custom.py',
    './_base_/schedules/schedule_iters.py'
]

# ---- what people edit ----
data_root = 'data/custom'  # from tools/dataset_converters/custom.py
num_classes = 2  # with background: one more than in --classes
mpp = 0.5  # µm/px in which the network sees every picture; 0.5 is 20x
max_iters = 1000  # steps
batch_size = 2  # crops of 256 x 256 px per step

# Every picture is brought to this scale, whatever its scanner.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
train_pipeline[2].update(mpp=mpp)
test_pipeline[1].update(mpp=mpp)
tta_pipeline[1].transforms[0][0].update(mpp=mpp)

model = dict(
    decode_head=dict(num_classes=num_classes),
    post_processor=dict(mpp=mpp),
    # Tile by tile, so that large pictures fit into memory; (height, width) px.
    test_cfg=dict(mode='slide', crop_size=(256, 256), stride=(192, 192)))
dataset = dict(data_root=data_root, num_classes=num_classes)
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=2e-3, total_steps=max_iters, pct_start=0.1,
         by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
