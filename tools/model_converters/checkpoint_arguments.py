# Copyright (c) CellVTA-MMSeg contributors.
"""Arguments that the converters share, checked before anything slow is imported."""
import argparse
from pathlib import Path


def add_checkpoints(parser: argparse.ArgumentParser) -> None:
    """Adds SRC, DST and --trust."""
    parser.add_argument('src', type=existing_file, help='checkpoint to read')
    parser.add_argument('dst', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--trust', action='store_true',
        help='read objects besides tensors too, which can run any code')


def existing_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f'{text}: no such file')
    return path
