# CoNSeP: 27 labelled images of 1000 x 1000 px at 40x, in the official layout.
_base_ = '../augmentation.py'

data_root = 'data/CoNSeP/Train'  # folder with Images and Labels
dataset_type = 'CoNSePDataset'
batch_size = 4  # crops per GPU
num_workers = 2  # processes per GPU
source_mpp = 0.275  # µm/px of bare images, given to mmseg.apis.inference_model
crop_size = (410, 410)  # (height, width) px of a training crop; 256 at 0.44 µm/px
train_indices = list(range(22))  # images in natural order: train_1 to train_22
test_indices = list(range(22, 27))  # train_23 to train_27, held out

train_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='ResizeToMpp'),  # to model.mpp
    dict(type='CellRandomRotate90', prob=1.0),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='CellBlur', prob=0.1, kernel_sizes=(3, 5)),  # px
    dict(type='CellGaussNoise', prob=0.5, max_variance=10),  # 0-255 scale, squared
    # The test images are of other patients: stain is what differs most.
    dict(type='CellStainJitter', prob=0.8, scale=0.2, shift=0.1),
    dict(type='CellColorJitter', prob=0.8, brightness=0.15, contrast=0.15,
         saturation=0.15, hue=0.03),
    dict(type='CellRandomSizedCrop', prob=0.2, min_fraction=0.75),
    dict(type='CellRandomAffine', prob=0.2, max_shift=15),  # px
    dict(type='GenerateHoverTargets'),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='ResizeToMpp', source_mpp=source_mpp),
    # After ResizeToMpp: metrics compare at the original 1000 px.
    dict(type='LoadCellAnnotations'),
    dict(type='PackCellInputs'),
]
tta_pipeline = [
    dict(type='LoadCellImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='ResizeToMpp', source_mpp=source_mpp)],
            _base_.tta_flips,
            [dict(type='LoadCellAnnotations')],
            [dict(type='PackCellInputs')],
        ]),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    # Endless: an iteration-based schedule; 22 images make no meaningful epoch.
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        indices=train_indices,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,  # whole 1000 x 1000 px images
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        indices=test_indices,
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='CellInstanceMetric')
test_evaluator = val_evaluator
