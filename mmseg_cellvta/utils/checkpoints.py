# Copyright (c) CellVTA-MMSeg contributors.
"""Checkpoint files: reading them safely, checking their normalisation, converting them.

The weights of CellVTA and CellViT have other names in their authors' code than here. A
rule is a pair of templates, the authors' name and ours, in which `{}` stands for any
text. Of the rules that fit a name the first one counts.
"""
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.runner import CheckpointLoader, load_state_dict
from mmseg.registry import DATASETS
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from .files import complete_file
from .plain_loading import CheckpointError, plain_loading

KeyRules = list[tuple[str, str]]  # the authors' template, ours
OURS, RELEASED = 'state_dict', 'model_state_dict'  # where a checkpoint has its weights
NORMALIZATION_KEY = 'normalization'  # in a checkpoint's meta
# The data set of a published model by the numbers of its classes and tissues.
RELEASED_ON = {(7, 1): 'CoNICDataset', (6, 19): 'PanNukeCellDataset'}
# Blocks of the authors are (convolution, BatchNorm); ours have names for the two.
BLOCK_PARTS = [('.block.0.', '.conv.'), ('.block.1.', '.bn.')]
BRANCHES = dict(
    nuclei_binary_map_decoder='np', hv_map_decoder='hv', nuclei_type_maps_decoder='nc')


def read_checkpoint(path: str | Path, trust: bool = False) -> dict:
    """Reads a checkpoint without running code that it may hold.

    Args:
        path: A file with weights as `state_dict`, as `model_state_dict`, or bare; or
            an address that MMEngine knows, such as https://...
        trust: Read objects besides tensors and plain values too. A file made for it
            then runs any code.

    Returns:
        What the file holds, with its weights by name as `state_dict`.

    Raises:
        CheckpointError: When the file is missing, holds objects, or holds no weights.
    """
    if '://' not in str(path) and not Path(path).is_file():
        raise CheckpointError(f'{path}: no such file')
    with plain_loading(trust):
        checkpoint = CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')
    if not isinstance(checkpoint, dict):
        checkpoint = {}
    outer = next((key for key in (RELEASED, OURS) if key in checkpoint), None)
    weights = checkpoint if outer is None else checkpoint.pop(outer)
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f'{path}: expected named tensors, bare or as '
                              f"'{RELEASED}' or '{OURS}'")
    return {OURS: weights} if outer is None else {**checkpoint, OURS: weights}


def load_weights(model: nn.Module, checkpoint: dict, where: str | Path) -> None:
    """Loads all weights of a model, which must be normalised as in their training.

    Args:
        model: The model to fill.
        checkpoint: What `read_checkpoint` returned.
        where: Its file, for errors.

    Raises:
        CheckpointError: When the checkpoint does not fit the model.
    """
    weights = checkpoint[OURS]
    consume_prefix_in_state_dict_if_present(weights, 'module.')  # of several GPUs
    try:
        load_state_dict(model, weights, strict=True)
        check_normalization(model, checkpoint)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f'{where} does not fit the config; give the config of its training: '
            f'{error}') from error


def read_meta(checkpoint: dict) -> dict:
    """Returns what a checkpoint says about itself; empty if it says nothing."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, dict) else {}


def unwrap(model: nn.Module) -> nn.Module:
    """Takes off what wraps a model: test-time augmentation, several GPUs."""
    while hasattr(model, 'module'):
        model = model.module
    return model


def read_normalization(model: nn.Module) -> dict[str, list[float]] | None:
    """Returns mean and std of the data preprocessor, RGB 0-255; None if it has none."""
    model = unwrap(model)
    if not hasattr(model.data_preprocessor, 'mean'):
        return None
    # The buffers are float32: round to the digits that a config has.
    return {
        key: [round(value, 4) for value in
              getattr(model.data_preprocessor, key).flatten().tolist()]
        for key in ('mean', 'std')
    }


def check_normalization(model: nn.Module, checkpoint: dict) -> None:
    """Compares a checkpoint's normalisation, if it has one, with that of a model.

    Args:
        model: The model that the checkpoint was loaded into.
        checkpoint: With `meta`, in which `NormalizationHook` writes mean and std.

    Raises:
        CheckpointError: When they differ: images would be segmented badly without any
            error.
    """
    saved = read_meta(checkpoint).get(NORMALIZATION_KEY)
    own = read_normalization(model)
    if saved is None or own is not None and all(
            np.allclose(saved[key], own[key], atol=1e-3) for key in saved):
        return
    raise CheckpointError(
        f'the checkpoint was trained with images normalised by {saved}, but the data '
        f'preprocessor has {own}; set its mean and std to those of the training, or '
        'encoder.name to the encoder of the training')


@dataclass(frozen=True)
class ReleasedModel:
    """A model that its authors have published, and how its weights are named here.

    Attributes:
        name: Name for messages.
        rules: Rules for every weight.
        needed: The authors' names of weights that every complete checkpoint has.
        expected: What a complete checkpoint is, for messages.
    """
    name: str
    rules: KeyRules
    needed: Sequence[str]
    expected: str

    def to_ours(self, key: str) -> str:
        """Returns this package's name for a weight of the authors.

        Raises:
            ValueError: When the authors' model has no such weight.
        """
        return _rename(key, self.rules, self.name)

    def to_theirs(self, key: str) -> str:
        """Returns the authors' name for a weight of this package.

        Raises:
            ValueError: When the authors' model has no such weight.
        """
        return _rename(key, [(ours, theirs) for theirs, ours in self.rules], self.name)


def convert_checkpoint(src: Path, dst: Path, model: ReleasedModel,
                       reverse: bool = False, trust: bool = False) -> dict[str, Tensor]:
    """Writes a checkpoint with every weight renamed and its values kept bit for bit.

    Args:
        src: Checkpoint to read; see `read_checkpoint`.
        dst: Checkpoint to write; its folder is made.
        model: What `src` has weights of.
        reverse: From this package's names to the authors'.
        trust: See `read_checkpoint`.

    Returns:
        The weights that were written, by their new names.

    Raises:
        ValueError: When `src` cannot be read, or does not have the weights of a
            complete `model`.
    """
    weights = read_checkpoint(src, trust)[OURS]
    rename = model.to_theirs if reverse else model.to_ours
    needed = map(model.to_ours, model.needed) if reverse else model.needed
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ValueError(f'{src}: {missing[0]} is missing: expected {model.expected}')
    try:
        converted = {rename(key): value for key, value in weights.items()}
    except ValueError as error:
        raise ValueError(f'{src}: {error}') from error
    dst.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(dst) as path:
        torch.save({RELEASED: converted} if reverse else
                   {'meta': _released_meta(converted), OURS: converted}, path)
    return converted


def _released_meta(weights: dict[str, Tensor]) -> dict:
    """Returns the meta of a converted checkpoint, which `mmseg.apis` reads.

    Classes and palette are in it if the outputs are those of a published model; of
    others nobody knows them.
    """
    counts = tuple(len(weights.get(f'decode_head.{name}.weight', ()))
                   for name in ('branches.nc.levels.3.2', 'tissue_head'))
    dataset = RELEASED_ON.get(counts)
    return {} if dataset is None else dict(dataset_meta=DATASETS.get(dataset).METAINFO)


def _rename(key: str, rules: KeyRules, model: str) -> str:
    for source, target in rules:
        match = re.fullmatch(re.escape(source).replace(r'\{\}', '(.+)'), key)
        if match:
            return target.format(*match.groups())
    raise ValueError(f'{key}: no such weight in {model}')


def _block_rules(old: str, new: str) -> KeyRules:
    """Rules of a convolution with its BatchNorm."""
    return [(f'{old}{theirs}{{}}', f'{new}{ours}{{}}') for theirs, ours in BLOCK_PARTS]


def _deconv_block_rules(old: str, new: str) -> KeyRules:
    """Rules of a transposed convolution, a convolution and a BatchNorm."""
    return [(f'{old}.block.0.{{}}', f'{new}.0.{{}}'),
            (f'{old}.block.1.{{}}', f'{new}.1.conv.{{}}'),
            (f'{old}.block.2.{{}}', f'{new}.1.bn.{{}}')]


def _branch_rules(old: str, new: str) -> KeyRules:
    """Rules of a branch without its bottleneck."""
    rules = []
    # (module, its place in `levels`, number of blocks before the last convolution)
    modules = [('decoder3_upsampler', 0, 3), ('decoder2_upsampler', 1, 2),
               ('decoder1_upsampler', 2, 2), ('decoder0_header', 3, 2)]
    for module, level, num_blocks in modules:
        for block in range(num_blocks):
            rules += _block_rules(
                f'{old}{module}.{block}', f'{new}levels.{level}.{block}')
        rules.append((f'{old}{module}.{num_blocks}.{{}}',
                      f'{new}levels.{level}.{num_blocks}.{{}}'))
    return rules


def _cellvta_rules() -> KeyRules:
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
            rules += _block_rules(f'decoder{level}.{block}',
                                  f'decode_head.skip_encoders.{level}.{block}')
    for theirs, ours in BRANCHES.items():
        new = f'decode_head.branches.{ours}.'
        rules += _deconv_block_rules(
            f'{theirs}.bottleneck_upsampler.0', f'{new}bottleneck')
        rules += _branch_rules(f'{theirs}.', new)
    return rules


def _cellvit_rules() -> KeyRules:
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
        rules += _block_rules(f'decoder0.{block}', f'{skips}0.{block}')
    for level, num_steps in ((1, 3), (2, 2), (3, 1)):
        for step in range(num_steps):
            rules += _deconv_block_rules(
                f'decoder{level}.{step}', f'{skips}{level}.{step}')
    for theirs, ours in BRANCHES.items():
        new = f'decode_head.branches.{ours}.'
        rules.append((f'{theirs}.bottleneck_upsampler.{{}}', f'{new}bottleneck.0.{{}}'))
        rules += _branch_rules(f'{theirs}.', new)
    return rules


CELLVTA = ReleasedModel(
    name='a CellVTA of four stages over a ViT',
    rules=_cellvta_rules(),
    needed=('encoder.patch_embed.proj.weight', 'encoder.spm.stem.0.weight',
            'nuclei_type_maps_decoder.decoder0_header.2.weight'),
    expected='a complete CellVTA with its encoder; a checkpoint saved without the '
    'frozen encoder cannot be converted')
CELLVIT = ReleasedModel(
    name='CellViT-256 or CellViT-SAM',
    rules=_cellvit_rules(),
    # The second is not in a CellVTA.
    needed=('encoder.patch_embed.proj.weight', 'decoder1.2.block.2.weight',
            'nuclei_type_maps_decoder.decoder0_header.2.weight'),
    expected='CellViT-256 or CellViT-SAM with a HoVer-Net decoder and its encoder')
