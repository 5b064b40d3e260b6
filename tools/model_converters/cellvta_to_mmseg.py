# Copyright (c) CellVTA-MMSeg contributors.
"""Converts the authors' CellVTA checkpoints for this package, and back.

The result holds the encoder too: it fits configs/cellvta_uni_conic_released.py (7
classes, 1 tissue) or cellvta_uni_pannuke_released.py (6 classes, 19 tissues) without
any download. Values are kept bit for bit in both directions.

Example:
    python tools/model_converters/cellvta_to_mmseg.py model_best.pth cellvta-conic
    python tools/infer.py cellvta-conic slides/ --out cells
"""
import argparse
from pathlib import Path

from checkpoint_arguments import CONFIGS, add_checkpoints, convert

# Config by the number of classes with background.
RELEASED = {7: 'cellvta_uni_conic_released.py', 6: 'cellvta_uni_pannuke_released.py'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoints(parser)
    parser.add_argument(
        '--reverse', action='store_true', help="from this package's names to theirs")
    return parser.parse_args()


def find_config(weights: dict) -> Path:
    """Returns the config for the weights of a checkpoint by their names here."""
    num_classes = len(weights['decode_head.branches.nc.levels.3.2.weight'])
    if num_classes not in RELEASED:
        raise ValueError(f'the checkpoint has {num_classes} classes, no released one '
                         'has; convert it to a .pth file and write a config for it')
    return CONFIGS / RELEASED[num_classes]


def main() -> None:
    convert(parse_args(), 'CELLVTA', find_config)


if __name__ == '__main__':
    main()
