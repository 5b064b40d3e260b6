# Copyright (c) CellVTA-MMSeg contributors.
"""Convert your own pictures and labels, for CellFolderDataset.

SRC holds images/ and labels/ with files of the same names, or train/, val/ and test/
with such folders. docs/your_own_data.md says what the files may be.

Example:
    python tools/dataset_converters/custom.py my_data data/custom \\
        --classes tumour,lymphocyte,other --mpp 0.25
"""
import argparse

from rich.progress import Progress

from mmseg_cellvta.conversion.class_list import parse_classes
from mmseg_cellvta.conversion.custom import convert_custom, is_divided
from mmseg_cellvta.conversion.splits import GroupSplit
from mmseg_cellvta.conversion.summary import DatasetSummary, run_converter
from mmseg_cellvta.conversion.writers import add_tile_options, read_tile_options

VAL_SHARE, TEST_SHARE = 0.1, 0.2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='folder of your pictures and labels')
    parser.add_argument('out', help='folder to make; interrupted, call again to go on')
    parser.add_argument('--classes', required=True, metavar='NAMES_OR_FILE',
                        help='class names: a,b,c in the order of their ids from 1, or '
                        'a text file, one a line; "nucleus" puts all into one class')
    parser.add_argument('--mpp', type=float, required=True,
                        help='size of a pixel, µm; 0.25 is 40x, 0.5 is 20x')
    add_tile_options(parser)
    parser.add_argument('--val-share', type=float, metavar='F',
                        help=f'share for validation (default: {VAL_SHARE})')
    parser.add_argument('--test-share', type=float, metavar='F',
                        help=f'share for testing (default: {TEST_SHARE})')
    parser.add_argument('--group', metavar='REGEX',
                        help='pictures whose names agree in the round brackets stay '
                        'together, such as "^(patient[0-9]+)"')
    return parser.parse_args()


def read_split(args: argparse.Namespace) -> GroupSplit | None:
    """How to divide the pictures; None for folders that are divided."""
    given = dict(val_share=args.val_share, test_share=args.test_share,
                 pattern=args.group)
    given = {key: value for key, value in given.items() if value is not None}
    if not given and is_divided(args.src):
        return None
    return GroupSplit(**{'val_share': VAL_SHARE, 'test_share': TEST_SHARE, **given})


def convert(args: argparse.Namespace,
            progress: Progress) -> tuple[DatasetSummary, list[str]]:
    """Convert as the options say."""
    classes = parse_classes(args.classes)
    summary, remarks = convert_custom(
        args.src, args.out, classes, args.mpp, read_tile_options(args),
        read_split(args), progress)
    setting = f'data_root = {args.out!r}, num_classes = {len(classes)}'
    return summary, [*remarks, f'for your config: {setting}']


def main() -> None:
    args = parse_args()
    run_converter(lambda progress: convert(args, progress), f'{args.out}:')


if __name__ == '__main__':
    main()
