# CoNSeP's four classes for the nuclei of a segmentor that knows none: CellViT++
# (arXiv:2501.05269). tools/train_cell_classifier.py trains it, tools/test.py tests it.
_base_ = [
    './_base_/models/cellvta_tiny.py', './_base_/datasets/consep.py',
    './_base_/schedules/schedule_cell_classifier.py'
]

# ---- what people edit ----
data_root = 'data/CoNSeP/Train'  # folder with Images and Labels
# train_4, 9, 14 and 19, which hold all classes, choose the best epoch.
val_indices = [3, 8, 13, 18]
train_indices = [i for i in range(22) if i % 5 != 3]  # the other 18 of train_1 to 22
batch_size = 256  # nuclei per step
# A class weighs N / (K n): nuclei, classes, nuclei of the class. False: all weigh 1.
balance_classes = True

model = dict(
    type='ReclassifyingSegmentor',
    # As configs/cellvta_tiny_consep_nuclei.py, whose checkpoint is taken.
    decode_head=dict(num_classes=2),
    mpp=0.44,  # µm/px in the network
    post_processor=dict(enlarge=2, min_confidence=0.8),
    cell_classifier=dict(
        type='CellClassifier',
        num_classes=5,  # with background
        hidden_channels=256,
        dropout=0.1))

images = dict(
    type='CoNSePDataset', data_root=data_root, test_mode=True,
    pipeline={{_base_.test_pipeline}})
train_dataloader = dict(
    _delete_=True,
    batch_size=batch_size,
    num_workers=0,  # tokens lie in memory
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CellTokenDataset', images=dict(images, indices=train_indices)))
val_dataloader = dict(
    _delete_=True,
    batch_size=batch_size,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CellTokenDataset', images=dict(images, indices=val_indices)))
val_evaluator = dict(type='CellClassMetric')
test_dataloader = dict(dataset=dict(data_root=data_root))
