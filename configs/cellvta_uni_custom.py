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
mpp = 0.25  # µm/px at which the network sees every image, whatever its scanner; 40x
max_iters = 20000  # steps
batch_size = 8  # crops of 256 x 256 px per GPU, for a learning rate of 3e-4
learning_rate = 3e-4

model = dict(
    mpp=mpp,
    backbone=dict(encoder=dict(weights=encoder_weights)),
    decode_head=dict(num_classes=num_classes),
    test_cfg=_base_.tiles)
dataset = dict(data_root=data_root, num_classes=num_classes)
train_dataloader = dict(batch_size=batch_size, dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
optim_wrapper = dict(
    optimizer=dict(lr=learning_rate, betas=(0.85, 0.95), weight_decay=1e-4))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=learning_rate, total_steps=max_iters,
         pct_start=0.1, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=2000)  # steps
default_hooks = dict(checkpoint=dict(interval=2000))
