# Copyright (c) CellVTA-MMSeg contributors.
"""Draws a labelled H&E-like data set in CoNIC's format."""
import argparse
import os
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

MIN_IMAGES = 20  # two source images: one to train on, one to test on


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder to make; it must not exist')
    parser.add_argument('--num-images', type=int, default=280,
                        help='number of 256 x 256 px patches (default: 280)')
    parser.add_argument('--seed', type=int, default=0,
                        help='the same seed draws the same patches (default: 0)')
    args = parser.parse_args()
    if os.path.lexists(args.out):
        parser.error(f'{args.out}: exists already; delete it or choose another folder')
    if args.num_images < MIN_IMAGES:
        parser.error(f'--num-images {args.num_images}: expected at least {MIN_IMAGES}')
    if args.seed < 0:
        parser.error(f'--seed {args.seed}: expected 0 or more')
    return args


def summarise(counts: np.ndarray, classes: Sequence[str]) -> Table:
    """Makes a table of the nuclei per class and of the share of empty images.

    Args:
        counts: Nuclei per image and class, (N, C-1).
        classes: Names of the classes, without background.
    """
    table = Table('class', 'nuclei', 'share, %')
    for name, number in zip(classes, counts.sum(0), strict=True):
        table.add_row(name, str(number), f'{100 * number / counts.sum():.1f}')
    table.add_section()
    table.add_row('nuclei per image', f'{counts.sum() / len(counts):.1f}', '')
    empty = (counts.sum(1) == 0).sum()
    share = f'{100 * empty / len(counts):.1f}'
    table.add_row('images without nuclei', str(empty), share)
    return table


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.conversion.drawn_conic import CLASSES, write_synthetic_conic

    with Progress() as progress:
        task = progress.add_task('drawing', total=args.num_images)
        try:
            counts = write_synthetic_conic(args.out, args.num_images, args.seed,
                                           lambda: progress.advance(task))
        except (OSError, ValueError) as error:
            raise SystemExit(f'error: {error}') from error
    console = Console()
    console.out(f'{args.out}: {args.num_images} images')
    console.print(summarise(counts, CLASSES))


if __name__ == '__main__':
    main()
