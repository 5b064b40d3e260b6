# Copyright (c) CellVTA-MMSeg contributors.
"""The table of encoders that have a name here; docs/encoders.md shows it."""
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from timm.models import get_pretrained_cfg, is_model

TABLE_FILE = Path(__file__).with_name('encoder_table.json')


@dataclass(frozen=True)
class EncoderEntry:
    """What is known of an encoder before it is built.

    Attributes:
        architecture: Name of the timm model.
        mean: Mean of its pre-training, RGB 0-255.
        std: Standard deviation of its pre-training, RGB 0-255.
        model_kwargs: Arguments of the timm model.
        weights: Its published weights, as `TimmEncoder` takes them; None if unknown.
    """
    architecture: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    model_kwargs: dict = field(default_factory=dict)
    weights: str | None = None


@cache
def read_encoder_table() -> dict[str, dict]:
    """Reads the rows of `encoder_table.json` by name, each with its mean and std."""
    table = json.loads(TABLE_FILE.read_text())
    return {
        row['name']: {**row, **table['normalizations'][row['normalization']]}
        for row in table['encoders']
    }


def find_encoder(name: str) -> EncoderEntry:
    """Looks up a name of the table or of timm.

    Args:
        name: Name such as `UNI2-h`, or of a timm model such as `vit_base_patch16_224`.

    Raises:
        ValueError: When neither the table nor timm has it.
    """
    row = read_encoder_table().get(name)
    if row is not None:
        file = '/' + row['file'] if 'file' in row else ''
        return EncoderEntry(row['architecture'], tuple(row['mean']), tuple(row['std']),
                            row['model_kwargs'], f'hf-hub:{row["page"]}{file}')
    if not is_model(name):
        raise ValueError(
            f'encoder.name={name!r} is neither a name of timm nor of the table of '
            f'encoders; choose one of {", ".join(read_encoder_table())}')
    cfg = get_pretrained_cfg(name)
    mean, std = (tuple(255 * value for value in part) for part in (cfg.mean, cfg.std))
    return EncoderEntry(name, mean, std)
