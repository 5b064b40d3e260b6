# A small CellVTA on real H&E, from random weights: CoNSeP at 40x, 22 images to train
# and 5 to test, on a CPU.
_base_ = [
    './_base_/models/cellvta_tiny.py', './_base_/datasets/consep.py',
    './_base_/schedules/schedule_iters.py'
]

# ---- what people edit ----
data_root = 'data/CoNSeP/Train'  # folder with Images and Labels
max_iters = 3500  # steps, 40 minutes of two cores that know bfloat16
batch_size = 2  # crops per step

model = dict(
    # µm/px in the network, 1000 px seen in 625: a CPU sees 2.6 times the tissue per
    # second that it sees at the images' own 0.275.
    mpp=0.44,
    decode_head=dict(
        num_classes=5,  # with background
        channels=16,  # at full resolution
        bottleneck_channels=64),  # at 1/8; 8 x 16 would be 1.9 million weights more
    post_processor=dict(
        enlarge=2,  # so that outlines do not show the network's pixels
        min_confidence=0.8),  # mean of NP, 0-1: best on images left out of training
    # As large as the crops it learns from: a ViT that sees more tokens sees worse.
    test_cfg=dict(mode='slide', crop_size=(256, 256), stride=(176, 176)))  # px
train_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
optim_wrapper = dict(type='CPUAmpOptimWrapper')
param_scheduler = [
    dict(type='OneCycleLR', eta_max=2e-3, total_steps=max_iters, pct_start=0.04,
         by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
