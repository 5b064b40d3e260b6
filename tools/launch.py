# Copyright (c) CellVTA-MMSeg contributors.
"""What tools/train.py and tools/test.py share: options and loading of the config."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from mmengine.config import Config, DictAction


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that MMSegmentation's train and test tools have in common."""
    parser.add_argument(
        '--work-dir', help='folder for logs and results, ./work_dirs/<config> if unset'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value pairs; lists as '
        'key="[a,b]" or key=a,b, nested as key="[(a,b),(c,d)]", without white space',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes this one; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the shared options to it."""
    check_file('config', args.config)
    find_package()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(args.config).stem}'
    return cfg


def check_file(role: str, path: str) -> None:
    """End the program with one sentence if a local file is missing."""
    if '://' not in path and not Path(path).is_file():
        sys.exit(f'{role} {path}: no such file; the path is relative to {os.getcwd()}')


def find_package() -> None:
    """Make mmseg_cellvta importable where it is not installed."""
    if importlib.util.find_spec('mmseg_cellvta') is None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
