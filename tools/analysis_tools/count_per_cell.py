# Copyright (c) CellVTA-MMSeg contributors.
"""Count the molecules of a Visium HD run in the cells of its microscope image.

Squares of 2 µm whose centre lies in a cell are added up. The table opens with anndata
and scanpy. Needs requirements/export.txt.

Example:
    python tools/analysis_tools/count_per_cell.py cells/image.parquet \\
        run/outs/binned_outputs/square_002um image_counts.h5ad
"""
import argparse
import os
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parquet', type=Path, help='file that tools/infer.py wrote')
    parser.add_argument('squares', type=Path,
                        help='folder binned_outputs/square_002um of the run')
    parser.add_argument('out', type=Path, help='.h5ad file to make; it must not exist')
    args = parser.parse_args()
    if not args.parquet.is_file():
        parser.error(f'{args.parquet}: no such file')
    if not args.squares.is_dir():
        parser.error(f'{args.squares}: no such folder')
    if os.path.lexists(args.out):
        parser.error(f'{args.out}: exists already; delete it or choose another name')
    return args


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait.
    from mmseg_cellvta.exports.bin_counts import export_counts

    try:
        table = export_counts(args.parquet, args.squares, args.out)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'{args.out}: {table.n_obs} cells, {table.n_vars} genes, '
          f'{int(table.X.sum())} molecules in {table.obs.squares.sum()} squares')


if __name__ == '__main__':
    main()
