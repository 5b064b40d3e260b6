# Copyright (c) CellVTA-MMSeg contributors.
"""Names of weights: those of the authors' CellVTA and those of this package."""
from .key_rules import (
    BRANCHES,
    Rules,
    block_rules,
    branch_rules,
    deconv_block_rules,
    rename,
)

MODEL = 'a CellVTA of four stages over a ViT'


def _rules() -> Rules:
    rules = [('encoder.norm.{}', 'backbone.cls_norm.{}'),
             ('encoder.head.{}', 'decode_head.tissue_head.{}'),
             ('encoder.level_embed', 'backbone.level_embed'),
             ('encoder.up.{}', 'backbone.up.{}'),
             ('encoder.spm.{}', 'backbone.spatial_prior.{}')]
    rules += [(f'encoder.norm{i + 1}.{{}}', f'backbone.norms.{i}.{{}}')
              for i in range(4)]
    for stage in range(4):
        old = f'encoder.interactions.{stage}.'
        new = f'backbone.interactions.{stage}.'
        extractors = [('extractor.', 'extractors.0.'),
                      ('extra_extractors.0.', 'extractors.1.'),
                      ('extra_extractors.1.', 'extractors.2.')]
        for theirs, ours in extractors:
            rules.append((f'{old}{theirs}ffn.dwconv.dwconv.{{}}',
                          f'{new}{ours}ffn.dwconv.{{}}'))
            rules.append((f'{old}{theirs}{{}}', f'{new}{ours}{{}}'))
        rules.append((f'{old}injector.{{}}', f'{new}injector.{{}}'))
    rules.append(('encoder.{}', 'backbone.encoder.vit.{}'))
    for level in range(4):
        for block in range(2):
            rules += block_rules(f'decoder{level}.{block}',
                                 f'decode_head.skip_encoders.{level}.{block}')
    for theirs, ours in BRANCHES.items():
        new = f'decode_head.branches.{ours}.'
        rules += deconv_block_rules(
            f'{theirs}.bottleneck_upsampler.0', f'{new}bottleneck')
        rules += branch_rules(f'{theirs}.', new)
    return rules


_RULES = _rules()


def to_mmseg_key(key: str) -> str:
    """Returns this package's name for a released weight.

    Raises:
        ValueError: The released CellVTA has no such weight.
    """
    return rename(key, _RULES, MODEL)


def to_released_key(key: str) -> str:
    """Returns the released name for a weight of this package.

    Raises:
        ValueError: The released CellVTA has no such weight.
    """
    return rename(key, [(new, old) for old, new in _RULES], MODEL)
