# Copyright (c) CellVTA-MMSeg contributors.
"""Converts the authors' CellVTA checkpoints for this package, and back.

The result holds the encoder too: it fits configs/cellvta_uni_conic_released.py (7
classes, 1 tissue) or cellvta_uni_pannuke_released.py (6 classes, 19 tissues) without
any download. Values are kept bit for bit in both directions.
"""
import argparse

from checkpoint_arguments import add_checkpoints


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_checkpoints(parser)
    parser.add_argument(
        '--reverse', action='store_true', help="from this package's names to theirs")
    return parser.parse_args()


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
