# CellVTA on CoNIC as the paper describes it (arXiv:2504.00784): UNI, frozen, at 40x.
_base_ = [
    './_base_/models/cellvta_uni.py', './_base_/datasets/conic.py',
    './_base_/schedules/schedule_50e.py'
]

# ---- what people edit ----
# UNI is gated: ask for access at https://huggingface.co/MahmoodLab/UNI and log in with
# `hf auth login`, or name a local file.
encoder_weights = 'published'
data_root = 'data/conic'  # folder with images.npy, labels.npy, patch_info.csv
batch_size = 8  # tiles per GPU, for a learning rate of 3e-4
mpp = 0.5 * 256 / 480  # µm/px in the network: a patch of 20x becomes 480 px wide

model = dict(
    mpp=mpp,
    backbone=dict(encoder=dict(weights=encoder_weights)),
    # The tiles of training, their maps blended over 32 px.
    test_cfg=dict(mode='slide', crop_size=(256, 256), stride=(224, 224)))
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(dataset=dict(data_root=data_root)))
val_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root))
test_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root))
