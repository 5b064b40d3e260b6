# Copyright (c) CellVTA-MMSeg contributors.
"""Names of weights: those of the authors' released CellVTA and those of this package.

Each rule is a pair of templates; `{}` stands for what both sides share. The first rule
that fits a key renames it, so special cases come first.
"""
import re

# Released blocks are (convolution, BatchNorm); ours name the two.
_BLOCK_PARTS = [('.block.0.', '.conv.'), ('.block.1.', '.bn.')]
_BRANCHES = dict(
    nuclei_binary_map_decoder='np', hv_map_decoder='hv', nuclei_type_maps_decoder='nc')


def _rules() -> list[tuple[str, str]]:
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
        for theirs, ours in _BLOCK_PARTS:
            for block in range(2):
                rules.append((f'decoder{level}.{block}{theirs}{{}}',
                              f'decode_head.skip_encoders.{level}.{block}{ours}{{}}'))
    for theirs, ours in _BRANCHES.items():
        rules += _branch_rules(theirs + '.', f'decode_head.branches.{ours}.')
    return rules


def _branch_rules(old: str, new: str) -> list[tuple[str, str]]:
    bottleneck = old + 'bottleneck_upsampler.0.block.'
    rules = [(bottleneck + '0.{}', new + 'bottleneck.0.{}'),
             (bottleneck + '1.{}', new + 'bottleneck.1.conv.{}'),
             (bottleneck + '2.{}', new + 'bottleneck.1.bn.{}')]
    # (module, its place in `levels`, number of blocks before the last convolution)
    modules = [('decoder3_upsampler', 0, 3), ('decoder2_upsampler', 1, 2),
               ('decoder1_upsampler', 2, 2), ('decoder0_header', 3, 2)]
    for module, level, num_blocks in modules:
        for block in range(num_blocks):
            for theirs, ours in _BLOCK_PARTS:
                rules.append((f'{old}{module}.{block}{theirs}{{}}',
                              f'{new}levels.{level}.{block}{ours}{{}}'))
        rules.append((f'{old}{module}.{num_blocks}.{{}}',
                      f'{new}levels.{level}.{num_blocks}.{{}}'))
    return rules


_RULES = _rules()


def to_mmseg_key(key: str) -> str:
    """Returns this package's name for a released weight.

    Raises:
        ValueError: The released CellVTA has no such weight.
    """
    return _rename(key, _RULES)


def to_released_key(key: str) -> str:
    """Returns the released name for a weight of this package.

    Raises:
        ValueError: The released CellVTA has no such weight.
    """
    return _rename(key, [(new, old) for old, new in _RULES])


def _rename(key: str, rules: list[tuple[str, str]]) -> str:
    for source, target in rules:
        match = re.fullmatch(re.escape(source).replace(r'\{\}', '(.+)'), key)
        if match:
            return target.format(*match.groups())
    raise ValueError(f'{key}: no such weight in a CellVTA of four stages over a ViT')
