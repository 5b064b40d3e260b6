# Your own data, converted by tools/dataset_converters/custom.py.
_base_ = '../augmentation.py'

data_root = 'data/custom'  # folder with Images, Labels, dataset.json and train.txt
dataset_type = 'CellFolderDataset'
batch_size = 4  # crops per GPU
num_workers = 2  # processes per GPU
crop_size = (256, 256)  # (height, width) px of a training crop at the network's scale
# Testing goes tile by tile, so that large images fit into memory; (height, width) px.
tiles = dict(mode='slide', crop_size=(256, 256), stride=(192, 192))

train_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='ResizeToMpp'),  # to model.mpp
    # A smaller image stays as it is; the data preprocessor pads the batch.
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='CellRandomRotate90', prob=1.0),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='CellStainJitter', prob=0.8, scale=0.2, shift=0.05),
    dict(type='CellGaussNoise', prob=0.5, max_variance=10),  # 0-255 scale, squared
    dict(type='CellBlur', prob=0.1, kernel_sizes=(3, 5)),  # px
    dict(type='GenerateHoverTargets'),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='ResizeToMpp'),
    # After ResizeToMpp: metrics compare at the pixels of the original image.
    dict(type='LoadCellAnnotations'),
    dict(type='PackCellInputs'),
]
tta_pipeline = [
    dict(type='LoadCellImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='ResizeToMpp')],
            _base_.tta_flips,
            [dict(type='LoadCellAnnotations')],
            [dict(type='PackCellInputs')],
        ]),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    # Endless: an iteration-based schedule; few images make no meaningful epoch.
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='train.txt',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,  # whole images, of any size
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='val.txt',
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='test.txt',
        test_mode=True,
        pipeline=test_pipeline))
val_evaluator = dict(type='CellInstanceMetric')
test_evaluator = val_evaluator
