# Copyright (c) CellVTA-MMSeg contributors.
"""Converts checkpoints of CellViT-256 and CellViT-SAM-B, -L or -H for this package.

The result holds the encoder too and fits configs/baselines/cellvit_256_pannuke.py or
cellvit_sam_{b,l,h}_pannuke.py; for the latter set model.backbone.encoder.weights=None,
or SAM is downloaded first. Values are kept bit for bit.
"""
import argparse

from checkpoint_arguments import add_checkpoints

# Config in configs/baselines by the width of the encoder.
CONFIGS = {384: 'cellvit_256_pannuke.py', 768: 'cellvit_sam_b_pannuke.py',
           1024: 'cellvit_sam_l_pannuke.py', 1280: 'cellvit_sam_h_pannuke.py'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_checkpoints(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.utils.checkpoints import CELLVIT, convert_checkpoint
    try:
        weights = convert_checkpoint(args.src, args.dst, CELLVIT, trust=args.trust)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    width = len(weights['backbone.encoder.vit.patch_embed.proj.weight'])
    print(f'{args.dst}: {len(weights)} tensors, for '
          f'{CONFIGS.get(width, f"an encoder of {width} channels")}')


if __name__ == '__main__':
    main()
