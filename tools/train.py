# Copyright (c) CellVTA-MMSeg contributors.
"""Train a segmentor; the options of MMSegmentation's own tools/train.py."""
import argparse
import sys
from typing import TYPE_CHECKING

from launch import (
    add_hooks,
    add_shared_options,
    check_file,
    checked_checkpoints,
    find_weights,
    load_config,
)

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a segmentor')
    parser.add_argument('config', help='path of the config file')
    start = parser.add_mutually_exclusive_group()
    start.add_argument('--resume', action='store_true',
                       help='resume from the latest checkpoint in the work dir')
    start.add_argument('--fine-tune', metavar='CHECKPOINT',
                       help='begin with the weights of a checkpoint or model folder of '
                       'other classes: all but the outputs of its classes and tissues')
    parser.add_argument('--amp', action='store_true',
                        help='train with automatic mixed precision')
    add_shared_options(parser)
    args = parser.parse_args()
    check_file('config', args.config)
    if args.fine_tune is not None:
        check_file('checkpoint', args.fine_tune)
    return args


def enable_fine_tuning(cfg: 'Config', checkpoint: str) -> None:
    """Begins with the weights of a checkpoint that has other classes."""
    cfg.load_from = find_weights(checkpoint)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='NewClassesHook')]


def enable_amp(cfg: 'Config') -> None:
    """Turns the config's OptimWrapper into an AmpOptimWrapper."""
    from mmseg_cellvta.configuration.type_names import type_name
    wrapper = type_name(cfg.optim_wrapper) or 'OptimWrapper'
    if wrapper in ('AmpOptimWrapper', 'CPUAmpOptimWrapper'):
        print('AMP training is already enabled in your config.')
    elif wrapper == 'OptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    else:
        sys.exit(f'error: --amp needs optim_wrapper.type OptimWrapper, the config has '
                 f'{wrapper}')


def fit_amp_to_device(cfg: 'Config') -> None:
    """Replaces an AmpOptimWrapper, which needs CUDA or alike, where there is none."""
    from mmengine.device import get_device

    from mmseg_cellvta.configuration.type_names import type_name
    wrapper = cfg.get('optim_wrapper') or {}
    if get_device() in ('cpu', 'mps') and type_name(wrapper) == 'AmpOptimWrapper':
        wrapper.type = 'CPUAmpOptimWrapper'
        for name in ('loss_scale', 'dtype', 'use_fsdp'):  # of GPUs alone
            wrapper.pop(name, None)
        print('No GPU that AmpOptimWrapper knows: CPUAmpOptimWrapper takes its place.')


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    from mmengine.runner import Runner
    from mmseg.registry import RUNNERS

    from mmseg_cellvta.configuration.evaluators import check_prefixes

    if args.amp:
        enable_amp(cfg)
    fit_amp_to_device(cfg)
    try:
        check_prefixes(cfg.get('val_evaluator'))
    except ValueError as error:
        sys.exit(f'error: {error}')
    if args.fine_tune is not None:
        enable_fine_tuning(cfg, args.fine_tune)
    cfg.resume = args.resume
    if args.resume:
        add_hooks(cfg, 'ResumeHook')
    with checked_checkpoints(args.trust):
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.train()


if __name__ == '__main__':
    main()
