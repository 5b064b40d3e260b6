default_scope = 'mmseg'
custom_imports = dict(imports=['mmseg_cellvta'], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='CellVisualizer', vis_backends=vis_backends, name='visualizer')
tta_model = dict(type='CellTTAModel')

# Epoch-based. A schedule that counts iterations changes four values together:
# train_cfg.type='IterBasedTrainLoop', log_processor.by_epoch=False,
# logger.log_metric_by_epoch=False, checkpoint.by_epoch=False.
log_processor = dict(by_epoch=True)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=True),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=True,
        interval=1,
        max_keep_ckpts=1,
        save_best='cell/mPQ',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='CellVisualizationHook', draw=False, interval=50),
)
custom_hooks = [
    dict(type='NormalizationHook'), dict(type='ClassNamesHook'),
    dict(type='ResumeHook'), dict(type='PlainCheckpointHook'),
    dict(type='BestScoreHook')
]

log_level = 'INFO'
load_from = None
resume = False
