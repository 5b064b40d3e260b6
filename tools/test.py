# Copyright (c) CellVTA-MMSeg contributors.
"""Test and score a segmentor; the options of MMSegmentation's own tools/test.py."""
import argparse
import sys
from typing import TYPE_CHECKING

from launch import (
    add_hooks,
    add_shared_options,
    check_file,
    checked_checkpoints,
    find_weights,
    is_model,
    load_config,
)

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch.utils.data import Dataset


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test and score a segmentor')
    parser.add_argument('config', help='path of the config file, or a model folder')
    parser.add_argument('checkpoint', nargs='?',
                        help='checkpoint file, model folder or hf://owner/name; not '
                        'needed after a model folder')
    parser.add_argument('--out', help='folder for predictions, a set per image')
    parser.add_argument('--show', action='store_true', help='show drawn predictions')
    parser.add_argument('--show-dir', help='folder for drawn predictions')
    parser.add_argument('--wait-time', type=float, default=2,
                        help='seconds that --show waits')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    add_shared_options(parser)
    args = parser.parse_args()
    check_file('config', args.config)
    if args.checkpoint is not None:
        check_file('checkpoint', args.checkpoint)
    elif not is_model(args.config):
        parser.error('expected a checkpoint after the config')
    return args


def enable_drawing(cfg: 'Config', args: argparse.Namespace) -> None:
    """Switches the visualization hook on."""
    if not (cfg.get('default_hooks') or {}).get('visualization'):
        sys.exit('error: default_hooks has no visualization, which --show and '
                 '--show-dir need; add visualization='
                 "dict(type='CellVisualizationHook')")
    hook = cfg.default_hooks.visualization
    hook.draw = True
    if args.show:
        hook.show = True
        hook.wait_time = args.wait_time
    if args.show_dir:
        if cfg.get('visualizer') is None:
            sys.exit("error: --show-dir needs visualizer=dict(type='CellVisualizer')")
        cfg.visualizer.save_dir = args.show_dir
        if not cfg.visualizer.get('vis_backends'):  # without one nothing is written
            cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]


def check_names(dataset: 'Dataset', config: str) -> None:
    """Ends the program if the results of two images would have one name."""
    from mmseg_cellvta.datasets.cell_dataset import check_result_names

    try:
        check_result_names(map(dataset.get_data_info, range(len(dataset))), config)
    except ValueError as error:
        sys.exit(f'error: {error}')


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    from mmengine.runner import Runner

    from mmseg_cellvta.configuration.evaluators import check_prefixes, keep_predictions
    from mmseg_cellvta.configuration.test_time_augmentation import enable_tta

    if args.checkpoint is not None:
        cfg.load_from = find_weights(args.checkpoint)
    if args.show or args.show_dir:
        enable_drawing(cfg, args)
    try:
        check_prefixes(cfg.get('test_evaluator'))
        if args.tta:
            enable_tta(cfg)
        if args.out is not None:
            keep_predictions(cfg, args.out)
    except ValueError as error:
        sys.exit(f'error: {error}')
    add_hooks(cfg, 'ClassNamesHook', 'SwitchToDeployHook')
    with checked_checkpoints(args.trust):
        runner = Runner.from_cfg(cfg)
        if args.out is not None or args.show_dir:
            check_names(runner.test_loop.dataloader.dataset, args.config)
        runner.test()


if __name__ == '__main__':
    main()
