# Copyright (c) CellVTA-MMSeg contributors.
"""Names of weights: those of released CellViT models and those of this package."""
from .key_rules import (
    BRANCHES,
    Rules,
    block_rules,
    branch_rules,
    deconv_block_rules,
    rename,
)


def _rules() -> Rules:
    rules = [('encoder.norm.{}', 'backbone.cls_norm.{}'),  # of a ViT with class token
             ('encoder.head.{}', 'decode_head.tissue_head.{}'),
             ('encoder.neck.{}', 'backbone.neck.{}'),  # of SAM
             ('classifier_head.{}', 'decode_head.tissue_head.{}'),
             ('encoder.blocks.{}.mlp.lin1.{}',
              'backbone.encoder.vit.blocks.{}.mlp.fc1.{}'),
             ('encoder.blocks.{}.mlp.lin2.{}',
              'backbone.encoder.vit.blocks.{}.mlp.fc2.{}'),
             ('encoder.{}', 'backbone.encoder.vit.{}')]
    skips = 'decode_head.skip_encoders.'
    for block in range(2):
        rules += block_rules(f'decoder0.{block}', f'{skips}0.{block}')
    for level, num_steps in ((1, 3), (2, 2), (3, 1)):
        for step in range(num_steps):
            rules += deconv_block_rules(
                f'decoder{level}.{step}', f'{skips}{level}.{step}')
    for theirs, ours in BRANCHES.items():
        new = f'decode_head.branches.{ours}.'
        rules.append((f'{theirs}.bottleneck_upsampler.{{}}', f'{new}bottleneck.0.{{}}'))
        rules += branch_rules(f'{theirs}.', new)
    return rules


_RULES = _rules()


def from_cellvit_key(key: str) -> str:
    """Returns this package's name for a weight of CellViT-256 or CellViT-SAM.

    Raises:
        ValueError: They have no such weight.
    """
    return rename(key, _RULES, 'CellViT-256 or CellViT-SAM')
