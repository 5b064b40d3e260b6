# Copyright (c) CellVTA-MMSeg contributors.

import pytest
from run_tool import TOOLS

from mmseg_cellvta.configuration.configs import load_config

CONFIG = TOOLS.parent / 'configs/cellvta_tiny_synthetic.py'


@pytest.mark.parametrize(('option', 'said'), [
    ('model.backbne.with_cp=True', 'model has no backbne; did you mean backbone'),
    ('model.backbone.with_pc=True', 'has no with_pc; did you mean with_cp'),
    ('model.backbone.wings=2', 'model.backbone has no wings; CellVTAAdapter takes'),
    ('model.decode_head.num_class=3', 'did you mean num_classes'),
    ('train_dataloader.batch_sze=2', 'did you mean batch_size'),
    ('train_dataloader.dataset.data_rot=x', 'did you mean data_root'),
    ('optim_wrapper.optimizer.lrr=1', 'did you mean lr'),
    ('train_cfg.max_iter=9', 'did you mean max_iters'),
    ('param_scheduler.7.end=3', 'entries, from 0 on; found 7'),
    ('model.backbone.type.x=3', "is 'CellVTAAdapter', which has no x")])
def test_a_slip_of_the_pen_is_refused(option, said):
    with pytest.raises(ValueError) as error:
        load_config(CONFIG, [option])
    text = str(error.value)
    assert text.startswith(f'--cfg-options {option.partition("=")[0]}: ')
    assert said in text


@pytest.mark.parametrize('option', [
    'model.backbone.with_cp=True', 'model.decode_head.with_cp=True',
    'model.post_processor.min_confidence=0.6', 'model.init_cfg.type=x',
    'model.backbone.encoder.init_values=1e-5', 'optim_wrapper.clip_grad.max_norm=1',
    'randomness.seed=3', 'env_cfg.cudnn_benchmark=True', 'compile=True',
    'train_dataloader.prefetch_factor=4', 'default_hooks.checkpoint.max_keep_ckpts=2',
    'default_hooks.checkpoint.rule=greater', 'param_scheduler.0.end=30',
    'optim_wrapper.optimizer.amsgrad=True', 'custom_hooks.0.priority=30',
    'optim_wrapper.constructor=x', 'test_dataloader.dataset.indices=3',
    'train_cfg.val_begin=3'])
def test_what_somebody_reads_is_taken(option):
    key, _, value = option.partition('=')
    cfg = load_config(CONFIG, [option])
    for name in key.split('.'):
        cfg = cfg[int(name)] if name.isdecimal() else cfg[name]
    assert str(cfg).lower() == value.lower() or float(cfg) == float(value)




def test_arguments_of_another_class_are_taken_with_it():
    cfg = load_config(CONFIG, ['optim_wrapper.dtype=float16',
                               'optim_wrapper.type=AmpOptimWrapper'])
    assert cfg.optim_wrapper.dtype == 'float16'
    with pytest.raises(ValueError, match='has no dtype'):
        load_config(CONFIG, ['optim_wrapper.dtype=float16'])
