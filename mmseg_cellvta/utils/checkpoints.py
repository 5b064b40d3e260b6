# Copyright (c) CellVTA-MMSeg contributors.
"""Reading checkpoint files that others have written."""
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

# How torch names what a protected load refuses; the wording differs by version.
REFUSED = re.compile(r'(?:GLOBAL|Unsupported class) ([\w.]+)')
KEY = 'normalization'  # in a checkpoint's meta
Rules = list[tuple[str, str]]
# Released blocks are (convolution, BatchNorm); ours name the two.
BLOCK_PARTS = [('.block.0.', '.conv.'), ('.block.1.', '.bn.')]
BRANCHES = dict(
    nuclei_binary_map_decoder='np', hv_map_decoder='hv', nuclei_type_maps_decoder='nc')
CELLVTA = 'a CellVTA of four stages over a ViT'


def load_foreign_weights(path: str | Path, trust: bool = False) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint without running code that it may hold.

    Args:
        path: A file with a state dict, bare or as `model_state_dict` or `state_dict`.
        trust: Read objects too. A file made for it then runs any code.

    Returns:
        The weights by name.

    Raises:
        ValueError: The file is missing, holds objects, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'{path}: no such file')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=not trust)
    except Exception as error:  # torch raises many unrelated types
        raise ValueError(f'{path}: {_reason(error)}') from error
    for name in ('model_state_dict', 'state_dict'):
        if isinstance(checkpoint, dict):
            checkpoint = checkpoint.get(name, checkpoint)
    if not isinstance(checkpoint, dict) or not checkpoint or not all(
            isinstance(value, Tensor) for value in checkpoint.values()):
        raise ValueError(f'{path}: expected named tensors, bare or as '
                         "'model_state_dict' or 'state_dict'")
    return checkpoint


def _reason(error: Exception) -> str:
    refused = REFUSED.search(str(error))
    if refused is None:
        return f'not a readable checkpoint ({type(error).__name__})'
    return (f'holds {refused[1]} besides tensors, and reading that may run any code; '
            'if you trust where the file comes from, give --trust')


def read_normalization(model: nn.Module) -> dict[str, list[float]] | None:
    """Mean and std of the data preprocessor, RGB 0-255; None if it has none."""
    while hasattr(model, 'module'):  # of test-time augmentation, of several GPUs
        model = model.module
    if not hasattr(model.data_preprocessor, 'mean'):
        return None
    # Float32 of the buffers to the digits that a config has.
    return {
        key: [round(value, 4) for value in
              getattr(model.data_preprocessor, key).flatten().tolist()]
        for key in ('mean', 'std')
    }


def check_normalization(model: nn.Module, checkpoint: dict) -> None:
    """Compares the normalisation in a checkpoint's meta, if there is one, with a model.

    Raises:
        ValueError: They differ: pictures would be segmented badly without any error.
    """
    saved = checkpoint.get('meta', {}).get(KEY)
    own = read_normalization(model)
    if saved is None or own is not None and all(
            np.allclose(saved[key], own[key], atol=1e-3) for key in saved):
        return
    raise ValueError(
        f'the checkpoint was trained with pictures normalised by {saved}, but the data '
        f'preprocessor has {own}; set its mean and std to those of the training, or '
        'encoder.name to the encoder of the training')


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


def _cellvta_rules() -> Rules:
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


_CELLVTA_RULES = _cellvta_rules()


def to_mmseg_key(key: str) -> str:
    """Returns this package's name for a released weight.

    Raises:
        ValueError: The released CellVTA has no such weight.
    """
    return rename(key, _CELLVTA_RULES, CELLVTA)


def to_released_key(key: str) -> str:
    """Returns the released name for a weight of this package.

    Raises:
        ValueError: The released CellVTA has no such weight.
    """
    return rename(key, [(new, old) for old, new in _CELLVTA_RULES], CELLVTA)


def _cellvit_rules() -> Rules:
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


_CELLVIT_RULES = _cellvit_rules()


def from_cellvit_key(key: str) -> str:
    """Returns this package's name for a weight of CellViT-256 or CellViT-SAM.

    Raises:
        ValueError: They have no such weight.
    """
    return rename(key, _CELLVIT_RULES, 'CellViT-256 or CellViT-SAM')
