# Copyright (c) CellVTA-MMSeg contributors.
"""Check and copy CoNIC's own files, and split them by source image.

SRC holds images.npy, labels.npy and patch_info.csv. OUT gets the same, and in splits/
the test parts of several splits; CoNICDataset takes each as sources_file. The paper's
own split needs no conversion.
"""
import argparse
from functools import partial

from converter_arguments import add_folders


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser, 'folder of the original files')
    parser.add_argument('--folds', type=int, default=5,
                        help='folds of the cross-validation split (default: 5)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.conversion.conic import convert_conic
    from mmseg_cellvta.conversion.summary import run_converter

    run_converter(partial(convert_conic, args.src, args.out, args.folds),
                  f'{args.out}: by the split of the paper')


if __name__ == '__main__':
    main()
