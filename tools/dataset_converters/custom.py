# Copyright (c) CellVTA-MMSeg contributors.
"""Convert your own images and labels, for CellFolderDataset.

SRC holds images/ and labels/ with files of the same names, or train/, val/ and test/
with such folders. docs/your_own_data.md says what the files may be.

Example:
    python tools/dataset_converters/custom.py my_data data/custom \\
        --classes tumour,lymphocyte,other --mpp 0.25
"""
import argparse

from converter_arguments import add_folders, add_tiles, pixel_size, share

VAL_SHARE, TEST_SHARE = 0.1, 0.2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser, 'folder of your images and labels')
    parser.add_argument('--classes', required=True, metavar='NAMES_OR_FILE',
                        help='class names: a,b,c in the order of their ids from 1, or '
                        'a text file, one a line; "nucleus" puts all into one class')
    parser.add_argument('--mpp', type=pixel_size, required=True,
                        help='size of a pixel, µm; 0.25 is 40x, 0.5 is 20x')
    add_tiles(parser)
    parser.add_argument('--val-share', type=share, metavar='F',
                        help=f'share for validation (default: {VAL_SHARE})')
    parser.add_argument('--test-share', type=share, metavar='F',
                        help=f'share for testing (default: {TEST_SHARE})')
    parser.add_argument('--group', metavar='REGEX',
                        help='images whose names agree in the round brackets stay '
                        'together, such as "^(patient[0-9]+)"')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.conversion.class_list import parse_classes
    from mmseg_cellvta.conversion.custom import convert_custom, is_divided
    from mmseg_cellvta.conversion.splits import GroupSplit
    from mmseg_cellvta.conversion.summary import run_converter
    from mmseg_cellvta.conversion.writers import Tiling

    def convert(progress):
        classes = parse_classes(args.classes)
        given = dict(val_share=args.val_share, test_share=args.test_share,
                     pattern=args.group)
        given = {key: value for key, value in given.items() if value is not None}
        split = None
        if given or not is_divided(args.src):
            shares = dict(val_share=VAL_SHARE, test_share=TEST_SHARE)
            split = GroupSplit(**shares | given)
        summary, remarks = convert_custom(
            args.src, args.out, classes, args.mpp, Tiling(args.tile, args.overlap),
            split, progress)
        setting = f'data_root = {args.out!r}, num_classes = {len(classes)}'
        return summary, [*remarks, f'for your config: {setting}']

    run_converter(convert, f'{args.out}:')


if __name__ == '__main__':
    main()
