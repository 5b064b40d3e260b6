# Copyright (c) CellVTA-MMSeg contributors.
"""What the converters share; nothing slow is imported before arguments are checked."""
import argparse
import sys
from collections.abc import Callable
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def add_checkpoints(parser: argparse.ArgumentParser) -> None:
    """Adds SRC, DST and --trust."""
    parser.add_argument('src', type=existing_file, help='checkpoint to read')
    parser.add_argument('dst', type=Path,
                        help='checkpoint (.pth) or model folder to write')
    parser.add_argument(
        '--trust', action='store_true',
        help='read objects besides tensors too, which can run any code')


def convert(args: argparse.Namespace, released: str,
            find_config: Callable[[dict], Path]) -> None:
    """Writes a checkpoint or, if `dst` is no `.pth` file, a model folder.

    Args:
        args: With what `add_checkpoints` adds, and `reverse`.
        released: Name of a `ReleasedModel` in `mmseg_cellvta.utils.checkpoints`.
        find_config: See `publish_converted`.
    """
    from mmseg_cellvta.publishing import publish_converted
    from mmseg_cellvta.utils import checkpoints

    model = getattr(checkpoints, released)
    try:
        if args.reverse or args.dst.suffix == '.pth':
            weights = checkpoints.convert_checkpoint(
                args.src, args.dst, model, args.reverse, args.trust)
            fits = '' if args.reverse else _describe_config(weights, find_config)
            print(f'{args.dst}: {len(weights)} tensors{fits}')
        else:
            folder = publish_converted(
                args.src, args.dst, model, find_config, args.trust)
            print(f'{args.dst}: a model of {len(folder.manifest["classes"]) - 1} '
                  f'classes; python tools/infer.py {args.dst} slides/ --out cells')
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


def _describe_config(weights: dict, find_config: Callable[[dict], Path]) -> str:
    try:
        return f', for {find_config(weights).name}'
    except ValueError as error:
        return f'; {error}'


def existing_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f'{text}: no such file')
    return path
