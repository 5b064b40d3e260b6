# Copyright (c) CellVTA-MMSeg contributors.
"""Converts the authors' CellVTA checkpoints for this package, and back.

The result holds the encoder too: it fits configs/cellvta_uni_conic_released.py (7
classes, 1 tissue) or cellvta_uni_pannuke_released.py (6 classes, 19 tissues) without
any download. Values are kept bit for bit in both directions.
"""
import argparse
from pathlib import Path

import torch

from mmseg_cellvta.utils.checkpoints import (
    load_foreign_weights,
    to_mmseg_key,
    to_released_key,
)
from mmseg_cellvta.utils.files import complete_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', type=Path, help='checkpoint to read')
    parser.add_argument('dst', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--reverse', action='store_true', help="from this package's names to theirs")
    parser.add_argument(
        '--trust', action='store_true',
        help='read objects besides tensors too, which can run any code')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rename = to_released_key if args.reverse else to_mmseg_key
    try:
        state_dict = load_foreign_weights(args.src, args.trust)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    try:
        converted = {rename(key): value for key, value in state_dict.items()}
        check_complete(converted if args.reverse else state_dict)
    except ValueError as error:
        raise SystemExit(f'{args.src}: {error}') from None
    outer = 'model_state_dict' if args.reverse else 'state_dict'
    args.dst.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(args.dst) as path:
        torch.save({outer: converted}, path)
    print(f'{args.dst}: {len(converted)} tensors')


def check_complete(released: dict[str, torch.Tensor]) -> None:
    """Raises ValueError if weights without which nothing works are missing."""
    for key in ('encoder.patch_embed.proj.weight', 'encoder.spm.stem.0.weight',
                'nuclei_type_maps_decoder.decoder0_header.2.weight'):
        if key not in released:
            raise ValueError(
                f'{key} is missing: expected a complete CellVTA with its encoder; a '
                'checkpoint saved without the frozen encoder cannot be converted')


if __name__ == '__main__':
    main()
