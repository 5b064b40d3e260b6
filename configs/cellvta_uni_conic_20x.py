# CellVTA on CoNIC at its native 20x: a quarter of the pixels of cellvta_uni_conic.py.
_base_ = './cellvta_uni_conic.py'

model = dict(
    post_processor=dict(mpp=0.5),  # µm/px of the network
    test_cfg=dict(_delete_=True, mode='whole'))
enlarging = ('ResizeToMpp', 'RandomTile')
train_pipeline = [s for s in _base_.train_pipeline if s['type'] not in enlarging]
test_pipeline = [s for s in _base_.test_pipeline if s['type'] not in enlarging]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]['transforms'].pop(0)
train_dataloader = dict(dataset=dict(times=1, dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
