# Copyright (c) CellVTA-MMSeg contributors.
"""Converts checkpoints of CellViT-256 and CellViT-SAM-B, -L or -H for this package.

The result holds the encoder too and fits configs/cellvit_256_pannuke.py or
cellvit_sam_{b,l,h}_pannuke.py; for the latter set model.backbone.encoder.weights=None,
or SAM is downloaded first. Values are kept bit for bit.
"""
import argparse
from pathlib import Path

import torch

from mmseg_cellvta.utils.checkpoints import from_cellvit_key, load_foreign_weights
from mmseg_cellvta.utils.files import complete_file

# Config by the width of the encoder.
CONFIGS = {384: 'cellvit_256_pannuke.py', 768: 'cellvit_sam_b_pannuke.py',
           1024: 'cellvit_sam_l_pannuke.py', 1280: 'cellvit_sam_h_pannuke.py'}
# Without these nothing works; the second is not in a CellVTA.
NEEDED = ('encoder.patch_embed.proj.weight', 'decoder1.2.block.2.weight',
          'nuclei_type_maps_decoder.decoder0_header.2.weight')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', type=Path, help='checkpoint to read')
    parser.add_argument('dst', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--trust', action='store_true',
        help='read objects besides tensors too, which can run any code')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        released = load_foreign_weights(args.src, args.trust)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    try:
        converted = convert(released)
    except ValueError as error:
        raise SystemExit(f'{args.src}: {error}') from None
    args.dst.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(args.dst) as path:
        torch.save(dict(state_dict=converted), path)
    dims = len(released[NEEDED[0]])
    print(f'{args.dst}: {len(converted)} tensors, for '
          f'{CONFIGS.get(dims, f"an encoder of {dims} channels")}')


def convert(released: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames all weights.

    Raises:
        ValueError: They are not those of a complete CellViT.
    """
    converted = {from_cellvit_key(key): value for key, value in released.items()}
    for key in NEEDED:
        if key not in released:
            raise ValueError(f'{key} is missing: expected CellViT-256 or CellViT-SAM '
                             'with a HoVer-Net decoder and its encoder')
    return converted


if __name__ == '__main__':
    main()
