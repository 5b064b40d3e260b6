# Copyright (c) CellVTA-MMSeg contributors.
"""Converts the authors' CellVTA checkpoints for this package, and back.

The result holds the encoder too: it fits configs/cellvta_uni_conic_released.py (7
classes) without any download. Values are kept bit for bit in both directions.
"""
import argparse
import os
from pathlib import Path

import torch

from mmseg_cellvta.utils import to_mmseg_key, to_released_key


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', type=Path, help='checkpoint to read')
    parser.add_argument('dst', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--reverse', action='store_true', help="from this package's names to theirs")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    state_dict = load_weights(args.src)
    rename = to_released_key if args.reverse else to_mmseg_key
    try:
        converted = {rename(key): value for key, value in state_dict.items()}
        check_complete(converted if args.reverse else state_dict)
    except ValueError as error:
        raise SystemExit(f'{args.src}: {error}') from None
    outer = 'model_state_dict' if args.reverse else 'state_dict'
    save({outer: converted}, args.dst)
    print(f'{args.dst}: {len(converted)} tensors')


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Reads the weights of either package's checkpoint, or a bare state dict."""
    if not path.is_file():
        raise SystemExit(f'{path}: no such file')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises many unrelated types
        raise SystemExit(
            f'{path}: cannot be read as a file of tensors only '
            f'({str(error).splitlines()[0]}); if it holds other objects and you trust '
            "it, save its 'model_state_dict' alone first") from None
    for name in ('model_state_dict', 'state_dict'):
        checkpoint = checkpoint.get(name, checkpoint)
    return checkpoint


def check_complete(released: dict[str, torch.Tensor]) -> None:
    """Raises ValueError if weights without which nothing works are missing."""
    for key in ('encoder.patch_embed.proj.weight', 'encoder.spm.stem.0.weight',
                'nuclei_type_maps_decoder.decoder0_header.2.weight'):
        if key not in released:
            raise ValueError(
                f'{key} is missing: expected a complete CellVTA with its encoder; a '
                'checkpoint saved without the frozen encoder cannot be converted')


def save(checkpoint: dict, path: Path) -> None:
    """Writes beside the target and renames, so that no half file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    torch.save(checkpoint, partial)
    os.replace(partial, path)


if __name__ == '__main__':
    main()
