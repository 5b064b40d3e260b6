# Copyright (c) CellVTA-MMSeg contributors.
"""Converts the authors' CellVTA checkpoints for this package, and back.

The result holds the encoder too: it fits configs/cellvta_uni_conic_released.py (7
classes, 1 tissue) or cellvta_uni_pannuke_released.py (6 classes, 19 tissues) without
any download. Values are kept bit for bit in both directions.
"""
import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', type=Path, help='checkpoint to read')
    parser.add_argument('dst', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--reverse', action='store_true', help="from this package's names to theirs")
    parser.add_argument(
        '--trust', action='store_true',
        help='read objects besides tensors too, which can run any code')
    args = parser.parse_args()
    if not args.src.is_file():
        parser.error(f'{args.src}: no such file')
    return args


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.utils.checkpoints import CELLVTA, convert_checkpoint
    try:
        weights = convert_checkpoint(
            args.src, args.dst, CELLVTA, reverse=args.reverse, trust=args.trust)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    print(f'{args.dst}: {len(weights)} tensors')


if __name__ == '__main__':
    main()
