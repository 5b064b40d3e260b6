# Copyright (c) CellVTA-MMSeg contributors.
"""Test and score a segmentor; the options of MMSegmentation's own tools/test.py."""
import argparse
import sys
from typing import TYPE_CHECKING

from launch import add_shared_options, check_file, load_config

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test and score a segmentor')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='folder for predictions, a set per image')
    parser.add_argument('--show', action='store_true', help='show drawn predictions')
    parser.add_argument('--show-dir', help='folder for drawn predictions')
    parser.add_argument('--wait-time', type=float, default=2,
                        help='seconds that --show waits')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    add_shared_options(parser)
    args = parser.parse_args()
    check_file('config', args.config)
    check_file('checkpoint', args.checkpoint)
    return args


def enable_drawing(cfg: 'Config', args: argparse.Namespace) -> None:
    """Switches the visualization hook on."""
    if 'visualization' not in cfg.default_hooks:
        sys.exit('error: default_hooks has no visualization, which --show and '
                 '--show-dir need; add visualization='
                 "dict(type='CellVisualizationHook')")
    hook = cfg.default_hooks.visualization
    hook.draw = True
    if args.show:
        hook.show = True
        hook.wait_time = args.wait_time
    if args.show_dir:
        cfg.visualizer.save_dir = args.show_dir


def enable_tta(cfg: 'Config') -> None:
    """Wraps the model into the config's test-time augmentation."""
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def enable_deploy(cfg: 'Config') -> None:
    """Tests the model in its form for inference."""
    hook = dict(type='SwitchToDeployHook')
    if hook not in cfg.get('custom_hooks', []):
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), hook]


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    from mmengine.runner import Runner

    from mmseg_cellvta.datasets.cell_dataset import check_result_names

    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        enable_drawing(cfg, args)
    if args.tta:
        enable_tta(cfg)
    enable_deploy(cfg)
    if args.out is not None:
        cfg.test_evaluator.output_dir = args.out
        cfg.test_evaluator.keep_results = True
    runner = Runner.from_cfg(cfg)
    if args.out is not None or args.show_dir:
        dataset = runner.test_loop.dataloader.dataset
        try:
            check_result_names(map(dataset.get_data_info, range(len(dataset))),
                               args.config)
        except ValueError as error:
            sys.exit(f'error: {error}')
    runner.test()


if __name__ == '__main__':
    main()
