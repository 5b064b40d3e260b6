# Copyright (c) CellVTA-MMSeg contributors.
"""Convert PanNuke's original files for PanNukeCellDataset.

SRC holds fold1, fold2, fold3, or some of them, each with images.npy, masks.npy and
types.npy; the folders of the authors' archives (Fold 1/images/fold1/images.npy) are
taken as they are. Memory stays bounded, whatever the size of the files.
"""
import argparse
from functools import partial

from converter_arguments import add_folders


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser, 'folder of the original files')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.conversion.pannuke import convert_pannuke
    from mmseg_cellvta.conversion.summary import run_converter

    run_converter(partial(convert_pannuke, args.src, args.out), f'{args.out}:')


if __name__ == '__main__':
    main()
