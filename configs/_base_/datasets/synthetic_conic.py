# H&E-like drawings in CoNIC's format, made by
# tools/dataset_converters/synthetic_conic.py.
_base_ = '../augmentation.py'

data_root = 'data/synthetic_conic'
dataset_type = 'CoNICDataset'
sources_file = 'test_sources.json'  # written beside the arrays by the generator
batch_size = 4  # crops per GPU
crop_size = (128, 128)  # (height, width) px of a training crop at the network's scale
source_mpp = 0.5  # µm/px of bare images, given to mmseg.apis.inference_model
num_workers = 2  # processes per GPU
val_share = 0.1  # fraction of the training source images

loading = [
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='ResizeToMpp'),  # to model.mpp
]
augmentation = [
    dict(type='CellRandomRotate90', prob=1.0),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='CellGaussNoise', prob=0.5, max_variance=10),  # 0-255 scale, squared
    dict(type='CellColorJitter', prob=0.5, brightness=0.1, contrast=0.1,
         saturation=0.1, hue=0.02),
    dict(type='GenerateHoverTargets'),
    dict(type='PackCellInputs'),
]
train_pipeline = [
    *loading, dict(type='RandomCrop', crop_size=crop_size), *augmentation]
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
    # Endless: an iteration-based schedule.
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        sources_file=sources_file,
        val_share=val_share,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        sources_file=sources_file,
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
        sources_file=sources_file,
        test_mode=True,
        pipeline=test_pipeline))
val_evaluator = dict(type='CellInstanceMetric')
test_evaluator = val_evaluator
