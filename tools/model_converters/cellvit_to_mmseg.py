# Copyright (c) CellVTA-MMSeg contributors.
"""Converts checkpoints of CellViT-256 and CellViT-SAM-B, -L or -H for this package.

The result holds the encoder too and fits configs/baselines/cellvit_256_pannuke.py or
cellvit_sam_{b,l,h}_pannuke.py; for the latter set model.backbone.encoder.weights=None,
or SAM is downloaded first. Values are kept bit for bit.

Example:
    python tools/model_converters/cellvit_to_mmseg.py CellViT-SAM-H-x40.pth cellvit
    python tools/infer.py cellvit slides/ --out cells
"""
import argparse
from pathlib import Path

from checkpoint_arguments import CONFIGS, add_checkpoints, convert

# Config in configs/baselines by the width of the encoder.
BY_WIDTH = {384: 'cellvit_256_pannuke.py', 768: 'cellvit_sam_b_pannuke.py',
            1024: 'cellvit_sam_l_pannuke.py', 1280: 'cellvit_sam_h_pannuke.py'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoints(parser)
    parser.set_defaults(reverse=False)
    return parser.parse_args()


def find_config(weights: dict) -> Path:
    """Returns the config for the weights of a checkpoint by their names here."""
    width = len(weights['backbone.encoder.vit.patch_embed.proj.weight'])
    if width not in BY_WIDTH:
        raise ValueError(f'the checkpoint has an encoder of {width} channels, no '
                         'released one has; convert it to a .pth file and write a '
                         'config for it')
    return CONFIGS / 'baselines' / BY_WIDTH[width]


def main() -> None:
    convert(parse_args(), 'CELLVIT', find_config)


if __name__ == '__main__':
    main()
