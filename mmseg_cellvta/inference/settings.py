# Copyright (c) CellVTA-MMSeg contributors.
"""What cells depend on: who compares it knows whether earlier results can be kept."""
import json
from pathlib import Path

from mmengine.config import Config

from ..utils.files import (
    content_digest,
    describe_changes,
    describe_files,
    settings_digest,
)

# Keys of a model's config, at any depth, that change nothing of a loaded model's cells.
NO_EFFECT = {'train_cfg', 'init_cfg', 'pretrained', 'weights', 'frozen', 'with_cp',
             'drop_path_rate', 'num_workers'}


# Settings that are digests, and what it means that one differs.
DIGESTS = dict(content='the image or slide is another one', weights='other weights')


def model_settings(cfg: Config, weights: str | Path) -> dict:
    """Returns what cells depend on of a model, as JSON values.

    Args:
        cfg: Its config.
        weights: Its checkpoint, which is known by its content.
    """
    return dict(model=_with_effect(cfg.model.to_dict()),
                weights=content_digest([weights]))


def older_model_settings(cfg: Config, weights: str | Path) -> dict:
    """Returns what versions before 2026-12 noted of a model."""
    return dict(model=settings_digest(cfg.model.to_dict()),
                weights=describe_files([weights]))


def find_changes(saved: dict, settings: dict, older: dict) -> str:
    """Says what differs between the settings of an earlier run and those of this one.

    Args:
        saved: Settings of the earlier run.
        settings: Those of this one, with the `content` of the input.
        older: The same as older versions noted them: without `content`.

    Returns:
        What is different; empty where nothing is.
    """
    now = json.loads(json.dumps(settings if 'content' in saved else older))
    for name, said in DIGESTS.items():
        if saved.get(name) != now.get(name):
            return said
    return describe_changes(saved, now)


def _with_effect(part):
    if isinstance(part, dict):
        return {key: _with_effect(value) for key, value in part.items()
                if key not in NO_EFFECT and not str(key).startswith('loss_')}
    if isinstance(part, (list, tuple)):
        return [_with_effect(value) for value in part]
    return part if isinstance(part, (bool, int, float, str, type(None))) else str(part)
