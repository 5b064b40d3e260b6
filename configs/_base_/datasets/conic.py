# CoNIC as the CellVTA paper trains and tests it: 20x patches, network at 40x.
_base_ = '../augmentation.py'

data_root = 'data/conic'  # folder with images.npy, labels.npy, patch_info.csv
dataset_type = 'CoNICDataset'
batch_size = 8  # images per GPU; paper: 8
num_workers = 4  # processes per GPU
tile_size = 256  # px of a training tile at the network's scale
source_mpp = 0.5  # µm/px of bare images, given to mmseg.apis.inference_model
tile_stride = 224  # px; the 2 x 2 tiles of an enlarged patch overlap by 32
tiles_per_patch = 4  # drawn in an epoch, as many as there are
val_share = 0.2  # fraction of the training source images; paper: 0.2, by tile

train_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='ResizeToMpp'),  # to model.mpp
    dict(type='RandomTile', size=tile_size, stride=tile_stride),
    *_base_.released_augmentation,
    dict(type='GenerateHoverTargets'),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='ResizeToMpp', source_mpp=source_mpp),
    # After ResizeToMpp: metrics compare at the original 256 px.
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
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='RepeatDataset',
        times=tiles_per_patch,
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            split='train',
            val_share=val_share,
            pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        val_share=val_share,
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=test_pipeline))
val_evaluator = dict(type='CellInstanceMetric')
test_evaluator = val_evaluator
