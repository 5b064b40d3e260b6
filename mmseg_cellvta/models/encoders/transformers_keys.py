# Copyright (c) CellVTA-MMSeg contributors.
"""Names of the weights of Hugging Face `transformers`, and those of timm."""
import re

import torch
from torch import Tensor

MARK = re.compile(r'(.*)encoder\.layer\.0\.attention\.attention\.query\.weight')
# What comes after `encoder.layer.<i>.` or before it. Where DINOv2's own names differ
# from timm's they are used, because timm reads those with what belongs to them.
RENAMES = {
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
QUERY = '.attention.attention.query.'


def from_transformers(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the weights of a `ViTModel`, `Dinov2Model` or one with registers.

    Args:
        state_dict: Any state dict; one of another layout is returned as it is. A
            prefix, as of `ViTForImageClassification`, is left out.

    Returns:
        A state dict that timm's `checkpoint_filter_fn` takes; queries, keys and values
        are one tensor, as in timm.
    """
    marks = list(filter(None, map(MARK.fullmatch, state_dict)))
    if not marks:
        return state_dict
    prefix = marks[0][1]
    renamed = {}
    for key, value in state_dict.items():
        if QUERY in key:
            parts = [key.replace('.query.', f'.{part}.')
                     for part in ('query', 'key', 'value')]
            if not state_dict.keys() >= set(parts):
                continue  # the loader says what is missing
            value = torch.cat([state_dict[part] for part in parts])
            key = key.replace(QUERY, '.attn.qkv.')
        elif '.attention.attention.' in key:
            continue  # joined to its query
        renamed[_rename(key.removeprefix(prefix))] = value
    return renamed


def _rename(key: str) -> str:
    for theirs, ours in RENAMES.items():
        key = key.replace(theirs, ours)
    return key
