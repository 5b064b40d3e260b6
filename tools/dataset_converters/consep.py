# Copyright (c) CellVTA-MMSeg contributors.
"""Convert CoNSeP as its authors distribute it, for CoNSePDataset.

Writes Images/*.png, Labels/*.npy, dataset.json, train.txt and test.txt. The 7 original
classes are merged to 4 as HoVer-Net does.
"""
import argparse

from converter_arguments import add_folders, add_tiles


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser, 'folder with Train, Test or both, or one of them')
    add_tiles(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.conversion.consep import convert_consep
    from mmseg_cellvta.conversion.summary import run_converter
    from mmseg_cellvta.conversion.writers import Tiling

    run_converter(lambda progress: convert_consep(
        args.src, args.out, Tiling(args.tile, args.overlap), progress), f'{args.out}:')


if __name__ == '__main__':
    main()
