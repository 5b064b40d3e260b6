# Copyright (c) CellVTA-MMSeg contributors.
"""What the tools share: options, and reading the config.

Only the standard library is imported here, and by every tool before it has read its
arguments: `--help` and a wrong argument must not wait for torch.
"""
import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--cfg-options`, which `load_config` of `configuration` reads."""
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
        help='override values at the top of the config (data_root=...) or settings '
        '(model.mpp=...); lists as key="[a,b]" or key=a,b, nested as '
        'key="[(a,b),(c,d)]", without white space')


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Adds `--launcher`."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        default='none', help='job launcher')


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust`."""
    parser.add_argument(
        '--trust', action='store_true',
        help='read objects besides tensors from checkpoints too, which can run any '
        'code')


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Adds what MMSegmentation's train and test tools have in common, and `--trust`."""
    parser.add_argument(
        '--work-dir', help='folder for logs and results, ./work_dirs/<config> if unset')
    add_cfg_options(parser)
    add_launcher(parser)
    add_trust(parser)
    # torch.distributed.launch passes this one; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> 'Config':
    """Reads the config and applies the shared options to it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if is_model(args.config):
        cfg, weights = read_model([args.config], args.cfg_options)
        cfg.load_from = weights
    else:
        cfg = read_config(args.config, args.cfg_options)
    if cfg.get('load_from'):
        cfg.load_from = find_weights(cfg.load_from)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(args.config).stem}'
    return cfg


def is_model(text: str) -> bool:
    """Returns True for a model folder and for `hf://owner/name`, False for a file."""
    return text.startswith('hf://') or Path(text).is_dir()


def read_model(names: list[str], options: list[str]) -> tuple['Config', str]:
    """Returns the config, with its options, and the weights of a model.

    Ends the program with one sentence if there are none.

    Args:
        names: A config and a checkpoint, or a model folder.
        options: Of `--cfg-options`.
    """
    if len(names) == 2:
        return read_config(names[0], options), find_weights(names[1])
    find_package()
    from mmseg_cellvta.configuration.configs import set_options
    from mmseg_cellvta.utils.model_folder import open_model

    try:
        folder = open_model(names[0])
        return set_options(folder.config, options), str(folder.weights)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


def find_weights(checkpoint: str) -> str:
    """Returns the file of weights that a checkpoint or a model folder stands for."""
    if not is_model(checkpoint):
        return checkpoint
    find_package()
    from mmseg_cellvta.utils.model_folder import open_model

    try:
        return str(open_model(checkpoint).weights)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


def add_hooks(cfg: 'Config', *names: str) -> None:
    """Adds hooks that a config, such as one of an earlier run, does not have."""
    own = [*(cfg.get('custom_hooks') or [])]
    wanted = [dict(type=name) for name in names]
    cfg.custom_hooks = own + [hook for hook in wanted if hook not in own]


def read_config(path: str, options: list[str]) -> 'Config':
    """Reads a config with its options; ends the program with one sentence if wrong."""
    find_package()
    from mmseg_cellvta.configuration.configs import load_config

    try:
        return load_config(path, options)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


@contextmanager
def checked_checkpoints(trust: bool) -> Iterator[None]:
    """Reads checkpoints without running code that they may hold, unless trusted.

    Ends the program with one sentence if a checkpoint is refused, or the encoder's
    weights are not here.
    """
    find_package()
    from mmseg_cellvta.models.encoders.weights import EncoderNotFoundError
    from mmseg_cellvta.utils.plain_loading import CheckpointError, plain_loading

    try:
        with plain_loading(trust):
            yield
    except (CheckpointError, EncoderNotFoundError) as error:
        sys.exit(f'error: {error}')


def check_file(role: str, path: str) -> None:
    """Ends the program with one sentence if a local file is missing."""
    if not (is_model(path) or '://' in path or Path(path).is_file()):
        sys.exit(f'{role} {path}: no such file; the path is relative to {os.getcwd()}')


def find_package() -> None:
    """Makes mmseg_cellvta importable where it is not installed."""
    if importlib.util.find_spec('mmseg_cellvta') is None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
