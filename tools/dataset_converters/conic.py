# Copyright (c) CellVTA-MMSeg contributors.
"""Check and copy CoNIC's own files, and split them by source image.

SRC holds images.npy, labels.npy and patch_info.csv. OUT gets the same, and in splits/
the test parts of several splits; CoNICDataset takes each as sources_file. The paper's
own split needs no conversion.
"""
import argparse

from mmseg_cellvta.conversion.conic import convert_conic
from mmseg_cellvta.conversion.summary import run_converter


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='folder of the original files')
    parser.add_argument('out', help='folder to make; interrupted, call again to go on')
    parser.add_argument('--folds', type=int, default=5,
                        help='folds of the cross-validation split (default: 5)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    run_converter(
        lambda progress: convert_conic(args.src, args.out, args.folds, progress),
        f'{args.out}: by the split of the paper')


if __name__ == '__main__':
    main()
