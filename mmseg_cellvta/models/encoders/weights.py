# Copyright (c) CellVTA-MMSeg contributors.
"""Loading an encoder's weights, and telling them apart by a fingerprint.

They come from a hub page or a file. What trained a ViT puts names before those of its
weights, such as `teacher.backbone.`, and `transformers` names them in its own way; here
all become the names that timm reads.
"""
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from timm.models import load_state_dict, load_state_dict_from_hf
from torch import Tensor, nn

from ...utils.model_folder import hub_reason
from ...utils.plain_loading import CheckpointError, refused_object

HUB_PREFIX = 'hf-hub:'
# By the weight that cuts an image into patches an encoder is found in a file: as timm
# and most authors name it, and `transformers`.
PATCH_WEIGHT = re.compile(
    r'(.*?)(?:patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.weight')
# Of two encoders of a self-supervised training this one is the result.
TEACHER = re.compile(r'(?:.*\.)?teacher\.')
CHUNKED_BLOCK = re.compile(r'blocks\.\d+\.(\d+)\.')  # of DINOv2's sharded training
LAYER_SCALE = re.compile(r'(\.ls[12])\.weight')  # KEEP's name; timm's is gamma
SAM_PREFIX = 'image_encoder.'  # by which timm knows SAM's own names
FIRST_QUERY = 'encoder.layer.0.attention.attention.query.weight'
# Parts of names in `transformers`, and what timm reads. Where DINOv2's authors have a
# name of their own it is theirs: timm knows their layout by it and converts the rest.
TRANSFORMERS_NAMES = {
    'embeddings.patch_embeddings.projection.': 'patch_embed.proj.',
    'embeddings.cls_token': 'cls_token',
    'embeddings.position_embeddings': 'pos_embed',
    'embeddings.register_tokens': 'register_tokens',
    'embeddings.mask_token': 'mask_token',
    'encoder.layer.': 'blocks.',
    '.attention.output.dense.': '.attn.proj.',
    '.layernorm_before.': '.norm1.',
    '.layernorm_after.': '.norm2.',
    '.intermediate.dense.': '.mlp.fc1.',
    '.output.dense.': '.mlp.fc2.',
    '.mlp.weights_in.': '.mlp.w12.',
    '.mlp.weights_out.': '.mlp.w3.',
    '.layer_scale1.lambda1': '.ls1.gamma',
    '.layer_scale2.lambda1': '.ls2.gamma',
    'layernorm.': 'norm.',
}
TRANSFORMERS_QUERY = '.attention.attention.query.'


class EncoderNotFoundError(FileNotFoundError):
    """Weights of an encoder that are not here; the message is a sentence."""


def load_encoder_weights(vit: nn.Module, weights: str,
                         filter_weights: Callable[[dict, nn.Module], dict]) -> None:
    """Fills a ViT from a hub page or a local file.

    Args:
        vit: The model to fill; position embeddings are resampled where needed.
        weights: `hf-hub:<owner>/<repository>`, with `/<file>` if it is not where timm
            looks, or the path of a `.pth`, `.bin` or `.safetensors` file. Keys are
            named as in timm, in `transformers` or by the model's authors, after any
            prefix.
        filter_weights: timm's function that turns the authors' names into its own.

    Raises:
        EncoderNotFoundError: When the file does not exist, the hub cannot be reached,
            or the page is gated.
        ValueError: When the file cannot be read, holds several encoders, or the
            weights belong to another architecture.
    """
    state_dict = _from_hub(weights) if weights.startswith(HUB_PREFIX) else _from_file(
        weights)
    state_dict = from_transformers(pick_encoder(state_dict, weights))
    state_dict = filter_weights(state_dict, vit)
    own = vit.state_dict()
    missing = sorted(own.keys() - state_dict.keys())
    if missing:
        raise ValueError(
            f'{weights}: {len(missing)} of {len(own)} encoder tensors are missing '
            f'(first: {missing[0]}); give the weights of the timm model that '
            'encoder.name names, with its key names')
    for key, value in own.items():
        if state_dict[key].shape != value.shape:
            raise ValueError(
                f'{weights}: {key} has shape {tuple(state_dict[key].shape)}, but the '
                f'encoder expects {tuple(value.shape)}; set encoder.name to the '
                'architecture of these weights')
    # A classification head or projection of the pre-training is of no use here.
    vit.load_state_dict({key: state_dict[key] for key in own})


def _from_hub(weights: str) -> dict[str, Tensor]:
    parts = weights[len(HUB_PREFIX):].split('/', 2)
    repository = '/'.join(parts[:2])
    where = dict(filename=parts[2]) if len(parts) == 3 else {}
    try:
        return load_state_dict_from_hf(repository, weights_only=True, **where)
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise EncoderNotFoundError(
            f'{weights}: the encoder could not be fetched ({hub_reason(error)}); ask '
            f'for access at https://huggingface.co/{repository} and log in with '
            '`hf auth login`, or set encoder.weights to a file that you have downloaded'
        ) from error


def _from_file(weights: str) -> dict[str, Tensor]:
    if not Path(weights).is_file():
        raise EncoderNotFoundError(
            f'{weights}: encoder weights not found; set encoder.weights to an existing '
            'file, to hf-hub:<owner>/<repository>, or to None for random weights')
    try:
        return load_state_dict(weights, weights_only=True)
    except CheckpointError:  # within a tool, which may trust the file
        raise
    except Exception as error:  # torch and safetensors raise unrelated types
        held = refused_object(error.__cause__ or error)
        if held is not None:
            raise ValueError(
                f'{weights}: holds {held} besides tensors and plain values, and '
                'reading that may run any code; give a file with the weights alone, '
                'such as .safetensors') from error
        raise ValueError(
            f'{weights}: not a readable weight file ({type(error).__name__}); expected '
            'a .pth, .bin or .safetensors state dict, perhaps the download was cut '
            'off') from error


def pick_encoder(state_dict: dict, weights: str) -> dict[str, Tensor]:
    """Finds the encoder in the file of a training; leaves out what is before its names.

    Of a teacher and its student the teacher is taken.

    Args:
        state_dict: Tensors by name, also in dictionaries inside.
        weights: Where they are from, for messages.

    Returns:
        The encoder's weights by their own names; `state_dict` as it is where it holds
        no ViT, or where timm itself finds the encoder (I-JEPA).

    Raises:
        ValueError: When it holds several encoders.
    """
    of_jepa = state_dict.get('encoder')
    if isinstance(of_jepa, dict) and all(key.startswith('module.') for key in of_jepa):
        return state_dict
    flat = dict(_flatten(state_dict))
    found = [match[1] for match in map(PATCH_WEIGHT.fullmatch, flat) if match]
    found = [prefix for prefix in found if TEACHER.match(prefix)] or found
    if len(found) > 1 and '' not in found:
        raise ValueError(
            f'{weights}: holds {len(found)} encoders, named {", ".join(found)}; save '
            'the weights of one of them as a file of their own')
    if not found or '' in found:
        return state_dict
    picked = {_own_name(key.removeprefix(found[0])): value
              for key, value in flat.items() if key.startswith(found[0])}
    if any('.mlp.lin1.' in key for key in picked):
        return {SAM_PREFIX + key: value for key, value in picked.items()}
    return picked


def _own_name(key: str) -> str:
    return LAYER_SCALE.sub(r'\1.gamma', CHUNKED_BLOCK.sub(r'blocks.\1.', key))


def _flatten(entries: dict, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    """Yields the dotted name of each tensor, and the tensor."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flatten(value, f'{prefix}{key}.')
        elif isinstance(value, Tensor):
            yield f'{prefix}{key}', value


def from_transformers(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the weights of a `ViTModel`, `Dinov2Model` or one with registers.

    Args:
        state_dict: Any state dict; one with other names is returned as it is.

    Returns:
        A state dict that timm's `checkpoint_filter_fn` takes; queries, keys and values
        are one tensor, as in timm.
    """
    if FIRST_QUERY not in state_dict:
        return state_dict
    renamed = {}
    for key, value in state_dict.items():
        if TRANSFORMERS_QUERY in key:
            parts = [key.replace('.query.', f'.{part}.')
                     for part in ('query', 'key', 'value')]
            if not state_dict.keys() >= set(parts):
                continue  # the loader says what is missing
            value = torch.cat([state_dict[part] for part in parts])
            key = key.replace(TRANSFORMERS_QUERY, '.attn.qkv.')
        elif '.attention.attention.' in key:
            continue  # joined to its query
        renamed[_rename(key)] = value
    return renamed


def _rename(key: str) -> str:
    for theirs, ours in TRANSFORMERS_NAMES.items():
        key = key.replace(theirs, ours)
    return key


def fingerprint(module: nn.Module) -> Tensor:
    """Computes the SHA-256 of names, shapes and the first values of all tensors.

    Returns:
        (32,) uint8 tensor, equal for equal weights.
    """
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        sample = value.detach().flatten()[:64].cpu().double()
        digest.update(f'{key}{tuple(value.shape)}'.encode())
        digest.update(sample.numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)
