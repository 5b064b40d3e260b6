# The paper's CoNIC schedule: 50 epochs of AdamW with an exponential decay.
_base_ = '../default_runtime.py'

max_epochs = 50
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.85, 0.95), weight_decay=1e-4))
# The paper's file says 0.85, but its code reads another place and uses 0.95.
param_scheduler = [dict(type='ExponentialLR', gamma=0.95, by_epoch=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=5))
log_processor = dict(by_epoch=True)
