# Copyright (c) CellVTA-MMSeg contributors.
"""Options of a command line that a config has no use for, found before the work."""
import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import mmseg.registry
from mmengine.registry import Registry

from .type_names import type_name

REGISTRIES = [value for value in vars(mmseg.registry).values()
              if isinstance(value, Registry)]
# What builders take out before they call a class.
OF_BUILDERS = ('constructor', 'paramwise_cfg', 'priority', 'convert_to_iter_based')
ALIKE = 0.8  # 0-1, from which on a new key counts as a slip of the pen


def check_option(cfg: Mapping, key: str) -> None:
    """Makes sure that somebody reads a dotted key that is set in a config.

    MMEngine takes any key. A new one must be an argument of the class whose dict it is
    set in; where there is no class, it must not look like a key that is there.

    Args:
        cfg: The config.
        key: Such as `model.backbone.with_cp` or `train_pipeline.0.size`.

    Raises:
        ValueError: When there is no such setting; names the one that was meant.
    """
    part, place = cfg, ''
    for name in key.split('.'):
        if isinstance(part, (list, tuple)):
            if not (name.isdecimal() and int(name) < len(part)):
                raise ValueError(f'--cfg-options {key}: {place} has {len(part)} '
                                 f'entries, from 0 on; found {name}')
            part = part[int(name)]
        elif isinstance(part, Mapping):
            if name not in part:
                if place:
                    _check_new(part, key, place, name)
                return
            part = part[name]
        elif part is None:  # a dict takes its place
            return
        else:
            raise ValueError(f'--cfg-options {key}: {place} is {str(part)[:60]!r}, '
                             f'which has no {name}')
        place = f'{place}.{name}' if place else name


def _check_new(part: Mapping, key: str, place: str, name: str) -> None:
    known = _arguments(part.get('type'))
    if name.startswith('_') or name in (*OF_BUILDERS, *(known or ())):
        return
    meant = get_close_matches(name, {*part, *(known or ())}, 1, ALIKE)
    if known is not None or meant:
        hint = f'; did you mean {meant[0]}?' if meant else (
            f'; {type_name(part)} takes {", ".join(sorted(known))}')
        raise ValueError(f'--cfg-options {key}: {place} has no {name}{hint}')


def _arguments(kind: Any) -> set[str] | None:
    """Returns the arguments of a class, or None where they are not known."""
    if isinstance(kind, str):
        kind = next(filter(None, (registry.get(kind) for registry in REGISTRIES)), None)
    if not inspect.isclass(kind):
        return None
    names = set()
    for base in kind.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        names |= {one.name for one in _named(parameters)}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return names
    return None


def _named(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    return [one for one in parameters
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
