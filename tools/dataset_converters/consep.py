# Copyright (c) CellVTA-MMSeg contributors.
"""Convert CoNSeP as its authors distribute it, for CoNSePDataset.

Writes Images/*.png, Labels/*.npy, dataset.json, train.txt and test.txt. The 7 original
classes are merged to 4 as HoVer-Net does.
"""
import argparse

from mmseg_cellvta.conversion.consep import convert_consep
from mmseg_cellvta.conversion.summary import run_converter
from mmseg_cellvta.conversion.writers import add_tile_options, read_tile_options


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='folder with Train, Test or both, or one of them')
    parser.add_argument('out', help='folder to make; interrupted, call again to go on')
    add_tile_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    run_converter(
        lambda progress: convert_consep(
            args.src, args.out, read_tile_options(args), progress),
        f'{args.out}:')


if __name__ == '__main__':
    main()
