# A small CellVTA on your own data, from random weights, on a CPU; see
# docs/your_own_data.md.
_base_ = [
    './_base_/models/cellvta_tiny.py', './_base_/datasets/custom.py',
    './_base_/schedules/schedule_iters.py'
]

# ---- what people edit ----
data_root = 'data/custom'  # from tools/dataset_converters/custom.py
num_classes = 2  # with background: one more than in --classes
mpp = 0.5  # µm/px at which the network sees every image, whatever its scanner; 20x
max_iters = 1000  # steps
batch_size = 2  # crops of 256 x 256 px per step

model = dict(
    mpp=mpp,
    decode_head=dict(num_classes=num_classes),
    test_cfg=_base_.tiles)
dataset = dict(data_root=data_root, num_classes=num_classes)
train_dataloader = dict(batch_size=batch_size, dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
param_scheduler = [
    dict(type='OneCycleLR', eta_max=2e-3, total_steps=max_iters, pct_start=0.1,
         by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
