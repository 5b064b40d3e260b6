# Copyright (c) CellVTA-MMSeg contributors.
"""A model as one folder, on the disk or on a hub: what is in it, opened and checked.

`config.json`, `weights.safetensors`, `model.json` (classes, µm/px, encoder, licence,
scores, checksums) and `README.md`, the model card. None of them can run code.
"""
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

HUB = 'hf://'
HUB_NAME = re.compile(r'hf://([\w.-]+/[\w.-]+)(?:@([^@\s]+))?')
CONFIG, WEIGHTS, MANIFEST, CARD = (
    'config.json', 'weights.safetensors', 'model.json', 'README.md')
VERSION = 1  # of the layout
# MMEngine imports whatever a type with other dots in it names.
TYPE = re.compile(r'((mmseg|mmengine|mmcv)\.)?\w+')
OWN_IMPORTS = dict(imports=['mmseg_cellvta'], allow_failed_imports=False)


class ModelFolder:
    """A model folder whose files are complete and as they were published.

    Attributes:
        path: The folder.
        manifest: What `model.json` holds.

    Args:
        path: The folder.

    Raises:
        ValueError: When it is no model folder, a file is missing or has changed, or it
            was written by a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = _read_json(self.path / MANIFEST)
        if self.manifest.get('version') != VERSION:
            raise ValueError(
                f'{self.path / MANIFEST}: version {self.manifest.get("version")!r} of '
                f'model folders; expected {VERSION}; install a newer mmseg_cellvta')
        for name in (CONFIG, WEIGHTS):
            file = self.path / name
            if not file.is_file():
                raise ValueError(
                    f'{file}: is missing; copy or download the model again')
            if file_digest(file) != self.manifest.get('files', {}).get(name):
                raise ValueError(
                    f'{file}: is not the file that was published, its SHA-256 differs '
                    f'from that in {MANIFEST}; copy or download the model again')

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return self.path / WEIGHTS

    @property
    def config(self) -> Config:
        """The whole config of its training, resolved.

        Raises:
            ValueError: When it names a type that no registry could have.
        """
        values = _read_json(self.path / CONFIG)
        for value in _types(values):
            if not TYPE.fullmatch(value):
                raise ValueError(f'{self.path / CONFIG}: type {value!r}; expected the '
                                 'name of a registered class, such as CellSegmentor')
        return Config({**values, 'custom_imports': OWN_IMPORTS},
                      filename=str(self.path / CONFIG))


def open_model(model: str | Path) -> ModelFolder:
    """Opens a model folder; one on a hub is downloaded, or taken from the cache.

    Args:
        model: A folder, or `hf://owner/name` with `@revision` if wanted.

    Raises:
        ValueError: When there is no such model, or it is damaged; see `ModelFolder`.
        OSError: When the hub cannot be reached and the cache does not have it.
    """
    if str(model).startswith(HUB):
        return ModelFolder(_download(str(model)))
    if not (Path(model) / MANIFEST).is_file():
        raise ValueError(f'{model}: no {MANIFEST} in it; expected a model folder, '
                         'which tools/publish_model.py writes')
    return ModelFolder(model)


def _download(model: str) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match = HUB_NAME.fullmatch(model)
    if match is None:
        raise ValueError(
            f'{model}: expected hf://owner/name or hf://owner/name@revision')
    name, revision = match.groups()
    try:
        return snapshot_download(
            name, revision=revision, allow_patterns=[CONFIG, WEIGHTS, MANIFEST, CARD])
    except GatedRepoError as error:
        raise ValueError(f'{model}: its owners give access on request; ask for it on '
                         'its page and log in with `hf auth login`') from error
    except RevisionNotFoundError as error:
        raise ValueError(f'{model}: no revision {revision!r}; expected a branch, a '
                         'tag or a commit of it') from error
    except RepositoryNotFoundError as error:
        raise ValueError(f'{model}: no such model, or a private one; check its name, '
                         'or log in with `hf auth login`') from error
    except Exception as error:  # the hub client raises many unrelated types
        raise OSError(
            f'{model}: could not be fetched ({hub_reason(error)}), and the cache does '
            'not have it; try again with a connection') from error


def hub_reason(error: Exception) -> str:
    """Returns type and first line of what the hub client raises; advice follows."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ValueError(
            f'{path}: is missing; copy or download the model again') from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: damaged ({error}); copy or download the model '
                         'again') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected an object of JSON; copy or download the '
                         'model again')
    return content


def _types(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if 'type' in part:
            yield str(part['type'])
        part = part.values()
    elif not isinstance(part, list):
        return
    for value in part:
        yield from _types(value)
