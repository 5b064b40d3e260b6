# CellVTA on PanNuke as the paper describes it (arXiv:2504.00784): UNI, frozen, at 40x,
# the first of the three official splits.
_base_ = [
    './_base_/models/cellvta_uni.py', './_base_/datasets/pannuke.py',
    './_base_/schedules/schedule_100e.py'
]

# ---- what people edit ----
# UNI is gated: ask for access at https://huggingface.co/MahmoodLab/UNI and log in with
# `hf auth login`, or name a local file.
encoder_weights = 'published'
data_root = 'data/pannuke'  # from tools/dataset_converters/pannuke.py
batch_size = 8  # patches per GPU, for a learning rate of 3e-4

model = dict(
    backbone=dict(encoder=dict(weights=encoder_weights), out_cls_token=True),
    decode_head=dict(
        num_classes=6,  # with background
        tissue_classes={{_base_.tissue_classes}},
        loss_tissue=dict(type='CrossEntropyLoss', loss_weight=0.1)))
train_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root))
test_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root))
