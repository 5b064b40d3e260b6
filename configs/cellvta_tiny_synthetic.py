# A small CellVTA on drawn H&E: a few minutes of two CPU cores, nothing to download.
_base_ = [
    './_base_/models/cellvta_tiny.py', './_base_/datasets/synthetic_conic.py',
    './_base_/schedules/schedule_iters.py'
]

# ---- what people edit ----
data_root = 'data/synthetic_conic'  # from tools/dataset_converters/synthetic_conic.py
max_iters = 900  # steps, about 6 minutes of two cores; 450 were too few for some seeds
randomness = dict(seed=0)  # the same start every time
batch_size = 4  # crops of 128 x 128 px per step

model = dict(
    mpp=0.5,  # µm/px in the network, 20x
    decode_head=dict(num_classes=7))  # with background
train_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=2e-3, total_steps=max_iters, pct_start=0.1,
         by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
