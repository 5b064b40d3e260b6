# Copyright (c) CellVTA-MMSeg contributors.
"""Turns the results of several test runs into the table of a paper.

The table has one column per fold, their mean, and published figures; every row says
how it is averaged. A cell is empty where a figure is not known; the mean is empty as
soon as one fold does not have the figure.

Example:
    python tools/analysis_tools/summarize_folds.py split1/metrics.json \\
        split2/metrics.json split3/metrics.json --published pannuke --out pannuke_table
"""
import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'metrics', nargs='+', type=Path,
        help='metrics.json of tools/test.py --out, or of eval_instances.py --out')
    parser.add_argument('--published', choices=['pannuke', 'conic'],
                        help='add the published figures on this data set')
    parser.add_argument('--out', type=Path, metavar='STEM',
                        help='write STEM.md and STEM.csv')
    args = parser.parse_args()
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out {args.out}: there is no folder {args.out.parent}')
    for path in args.metrics:
        if not path.is_file():
            parser.error(f'{path}: no such file')
    return args


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.evaluation.fold_table import FoldTable, read_published
    try:
        published = read_published(args.published) if args.published else None
        table = FoldTable(args.metrics, published)
        if args.out is not None:
            for suffix, text in (('md', table.to_markdown()), ('csv', table.to_csv())):
                path = args.out.with_name(f'{args.out.name}.{suffix}')
                path.write_text(text, encoding='utf-8')
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    print(table.to_markdown())


if __name__ == '__main__':
    main()
