# PanNuke as the CellVTA paper trains and tests it: 40x patches of 256 px as they are.
# Folds as tools/dataset_converters/pannuke.py writes them.
_base_ = '../augmentation.py'

data_root = 'data/pannuke'  # folder with fold1, fold2, fold3
dataset_type = 'PanNukeCellDataset'
batch_size = 8  # images per GPU; paper: 8
num_workers = 4  # processes per GPU
source_mpp = 0.25  # µm/px of bare images, given to mmseg.apis.inference_model
train_folds, val_folds, test_folds = [1], [2], [3]  # as the authors number them

# Images of all three folds that show each class, and those of each tissue.
images_per_class = [4191, 4132, 6140, 232, 1528]
images_per_tissue = {
    'Adrenal_gland': 437, 'Bile-duct': 420, 'Bladder': 146, 'Breast': 2351,
    'Cervix': 293, 'Colon': 1440, 'Esophagus': 424, 'HeadNeck': 384, 'Kidney': 134,
    'Liver': 224, 'Lung': 184, 'Ovarian': 146, 'Pancreatic': 195, 'Prostate': 182,
    'Skin': 187, 'Stomach': 146, 'Testis': 196, 'Thyroid': 226, 'Uterus': 186
}
tissue_classes = list(images_per_tissue)  # for a tissue head, in the authors' spelling

train_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations'),
    dict(type='ResizeToMpp'),  # to model.mpp
    *_base_.released_augmentation,
    dict(type='GenerateHoverTargets'),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='ResizeToMpp', source_mpp=source_mpp),
    # After ResizeToMpp: metrics compare at the original pixels.
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
    sampler=dict(
        type='CellWeightedSampler',
        strategy='cell+tissue',
        gamma=0.85,
        images_per_class=images_per_class,
        images_per_tissue=images_per_tissue),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        folds=train_folds,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        folds=val_folds,
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
        folds=test_folds,
        test_mode=True,
        pipeline=test_pipeline))
val_evaluator = dict(type='CellInstanceMetric')
test_evaluator = val_evaluator
