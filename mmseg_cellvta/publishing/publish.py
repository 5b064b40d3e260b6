# Copyright (c) CellVTA-MMSeg contributors.
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor

from ..configuration.configs import load_config
from ..inference.network import build_segmentor
from ..models.encoders.encoder_table import read_encoder_table
from ..models.encoders.timm_encoder import PUBLISHED, TimmEncoder
from ..models.encoders.weights import fingerprint
from ..utils.checkpoints import (
    NORMALIZATION_KEY,
    ReleasedModel,
    convert_checkpoint,
    read_normalization,
)
from ..utils.files import complete_folder, refuse_existing
from ..utils.model_folder import (
    CARD,
    CONFIG,
    MANIFEST,
    VERSION,
    WEIGHTS,
    ModelFolder,
    file_digest,
    hub_reason,
)
from ..version import __version__
from .model_card import write_card

# Of the machine and the run, not of the model.
LEFT_OUT = ('work_dir', 'load_from', 'resume', 'launcher', 'custom_imports', 'filename')
ENCODER = 'backbone.encoder.'


def publish_model(cfg: Config, checkpoint: str | Path, out: str | Path,
                  scores: dict[str, float] | None = None, licence: str | None = None,
                  with_encoder: bool = False, trust: bool = False) -> ModelFolder:
    """Writes a model folder; it appears only when it is complete and was loaded again.

    A frozen encoder of the table is not in it, for most licences forbid to pass it on:
    its name and fingerprint are, and who uses the model fetches it from its own page.

    Args:
        cfg: Config of the training.
        checkpoint: Its checkpoint, or a converted one.
        out: The folder; it must not exist.
        scores: Figures of the model by metric, fractions.
        licence: Of the weights, as the hub abbreviates it, such as `cc-by-4.0`.
        with_encoder: Put a frozen encoder into the folder too.
        trust: See `read_checkpoint`.

    Raises:
        FileExistsError: When there is something of that name.
        ValueError: When the checkpoint does not fit the config, or the encoder is from
            a file and nobody else could fetch it.
    """
    model = build_segmentor(cfg, checkpoint, trust)
    weights, encoder = dict(model.state_dict()), None
    if isinstance(getattr(model.backbone, 'encoder', None), TimmEncoder):
        encoder = _describe_encoder(model.backbone.encoder, with_encoder)
        if encoder['in_folder']:
            weights.pop(f'{ENCODER}fingerprint', None)
            weights |= {f'{ENCODER}vit.{key}': value for key, value in
                        model.backbone.encoder.vit.state_dict().items()}
    normalization = read_normalization(model)
    with complete_folder(out) as part:
        meta = dict(dataset_meta=_plain(dict(model.dataset_meta)),
                    **{NORMALIZATION_KEY: normalization})
        save_file({key: value.contiguous() for key, value in weights.items()},
                  part / WEIGHTS, dict(meta=json.dumps(meta)))
        _write_json(part / CONFIG, _resolve(cfg, encoder))
        shutil.copymode(part / CONFIG, part / WEIGHTS)  # others may read it as well
        manifest = dict(
            version=VERSION, package=f'mmseg_cellvta {__version__}',
            name=Path(out).name, classes=list(model.dataset_meta['classes']),
            palette=_plain(model.dataset_meta['palette']), mpp=model.mpp,
            normalization=normalization, encoder=encoder, licence=licence,
            scores=scores or {},
            files={name: file_digest(part / name) for name in (CONFIG, WEIGHTS)})
        _write_json(part / MANIFEST, manifest)
        (part / CARD).write_text(write_card(manifest), encoding='utf-8')
        folder = ModelFolder(part)
        config = folder.config
        if encoder is not None and not encoder['in_folder']:
            # It may be on this machine only as a file.
            config.model.backbone.encoder.weights = model.backbone.encoder.weights
        _check_same(weights, build_segmentor(config, folder.weights).state_dict())
    folder.path = Path(out)
    return folder


def publish_converted(src: Path, out: Path, released: ReleasedModel,
                      find_config: Callable[[dict[str, Tensor]], Path],
                      trust: bool = False) -> ModelFolder:
    """Writes a model folder of a checkpoint that its authors have published.

    Nuclei are found with this package's markers, which do not depend on where tiles
    and windows lie; see `HoverPostProcessor`.

    Args:
        src: The authors' checkpoint.
        out: The folder; it must not exist.
        released: What `src` has weights of.
        find_config: Returns the config for weights by their names here; ValueError
            where there is none.
        trust: See `read_checkpoint`.

    Raises:
        FileExistsError: When there is something of that name.
        ValueError: When `src` is no such checkpoint.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix='.converted_') as folder:
        checkpoint = Path(folder, 'converted.pth')
        weights = convert_checkpoint(src, checkpoint, released, trust=trust)
        cfg = load_config(find_config(weights), {
            'model.post_processor.markers': 'rising',
            'model.backbone.encoder.weights': None})
        return publish_model(cfg, checkpoint, out)


def push_model(folder: ModelFolder, name: str, private: bool = False) -> str:
    """Uploads a model folder to the hub, into a repository that is made if needed.

    Args:
        folder: The model.
        name: `owner/name`.
        private: Whether a new repository is private.

    Returns:
        Address of the commit.

    Raises:
        OSError: When the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        return str(api.upload_folder(
            repo_id=name, folder_path=folder.path,
            allow_patterns=[CONFIG, WEIGHTS, MANIFEST, CARD],
            commit_message=f'{folder.manifest["name"]}, {folder.manifest["package"]}'))
    except Exception as error:  # the hub client raises many unrelated types
        raise OSError(
            f'--push {name}: the hub did not take it ({hub_reason(error)}); log in '
            'with `hf auth login` and check that you may write there') from error


def _describe_encoder(encoder: TimmEncoder, with_encoder: bool) -> dict:
    """Returns what the manifest says of an encoder."""
    row = read_encoder_table().get(encoder.name)
    in_folder = with_encoder or encoder.in_checkpoint
    if row is None and not in_folder:
        raise ValueError(
            f'encoder.weights={encoder.weights}: {encoder.name} is not in the table of '
            'encoders, so that others could not fetch it; add --with-encoder to put '
            'its weights into the folder, if their licence allows it')
    return dict(
        name=encoder.name, frozen=encoder.frozen, in_folder=in_folder,
        page=row and row['page'], licence=row and row['licence'],
        fingerprint=bytes(fingerprint(encoder.vit).tolist()).hex())


def _resolve(cfg: Config, encoder: dict | None) -> dict:
    """Returns a config as JSON values, without what belongs to a machine or a run."""
    values = {key: value for key, value in cfg.to_dict().items()
              if key not in LEFT_OUT}
    if encoder is not None:
        values['model']['backbone']['encoder']['weights'] = (
            None if encoder['in_folder'] else PUBLISHED)
    return _plain(values)


def _plain(value: Any, place: str = 'config') -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item, f'{place}.{key}')
                for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item, f'{place}.{index}') for index, item in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, type):  # of configs in pure Python
        return value.__name__
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f'{place}: {type(value).__name__} cannot be written into '
                     f'{CONFIG}; expected numbers, texts, lists and dicts')


def _check_same(weights: dict[str, Tensor], again: dict[str, Tensor]) -> None:
    """Makes sure that the folder gives the model again, bit for bit."""
    differ = [key for key in weights.keys() | again.keys()
              if not (key in weights and key in again
                      and torch.equal(weights[key], again[key]))]
    if differ:
        raise ValueError(f'{differ[0]}: differs after it was written and read again; '
                         'is the disk damaged?')


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + '\n',
                    encoding='utf-8')
