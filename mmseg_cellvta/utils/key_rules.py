# Copyright (c) CellVTA-MMSeg contributors.
"""Rules that rename weights, and those that the authors' models share.

Each rule is a pair of templates; `{}` stands for what both sides share. The first rule
that fits a key renames it, so special cases come first.
"""
import re

Rules = list[tuple[str, str]]
# Released blocks are (convolution, BatchNorm); ours name the two.
BLOCK_PARTS = [('.block.0.', '.conv.'), ('.block.1.', '.bn.')]
BRANCHES = dict(
    nuclei_binary_map_decoder='np', hv_map_decoder='hv', nuclei_type_maps_decoder='nc')


def block_rules(old: str, new: str) -> Rules:
    """Rules of a convolution with its BatchNorm."""
    return [(f'{old}{theirs}{{}}', f'{new}{ours}{{}}') for theirs, ours in BLOCK_PARTS]


def deconv_block_rules(old: str, new: str) -> Rules:
    """Rules of a transposed convolution, a convolution and a BatchNorm."""
    return [(f'{old}.block.0.{{}}', f'{new}.0.{{}}'),
            (f'{old}.block.1.{{}}', f'{new}.1.conv.{{}}'),
            (f'{old}.block.2.{{}}', f'{new}.1.bn.{{}}')]


def branch_rules(old: str, new: str) -> Rules:
    """Rules of a branch but for its bottleneck."""
    rules = []
    # (module, its place in `levels`, number of blocks before the last convolution)
    modules = [('decoder3_upsampler', 0, 3), ('decoder2_upsampler', 1, 2),
               ('decoder1_upsampler', 2, 2), ('decoder0_header', 3, 2)]
    for module, level, num_blocks in modules:
        for block in range(num_blocks):
            rules += block_rules(
                f'{old}{module}.{block}', f'{new}levels.{level}.{block}')
        rules.append((f'{old}{module}.{num_blocks}.{{}}',
                      f'{new}levels.{level}.{num_blocks}.{{}}'))
    return rules


def rename(key: str, rules: Rules, model: str) -> str:
    """Renames a weight.

    Args:
        key: Its name.
        rules: Pairs of templates, from and to.
        model: What has such weights, for the error message.

    Raises:
        ValueError: No rule fits.
    """
    for source, target in rules:
        match = re.fullmatch(re.escape(source).replace(r'\{\}', '(.+)'), key)
        if match:
            return target.format(*match.groups())
    raise ValueError(f'{key}: no such weight in {model}')
