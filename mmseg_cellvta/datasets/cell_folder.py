# Copyright (c) CellVTA-MMSeg contributors.
"""Pictures and labels of nuclei in a folder, a pair of files for each picture.

- ``Images/<name>.png``: RGB, 8 bits.
- ``Labels/<name>.npy``: integer (H, W, 2), instance ids and class ids, 0 background.
- ``dataset.json``: ``classes`` with background first, ``palette`` (RGB, 0-255) and
  ``mpp`` (µm/px).
- ``train.txt``, ``val.txt``, ``test.txt``: names, one a line.
"""
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

IMAGE_DIR, LABEL_DIR, INFO_FILE = 'Images', 'Labels', 'dataset.json'


def read_info(folder: str | Path) -> dict:
    """Read ``dataset.json``.

    Args:
        folder (str | Path): Folder of the data set.

    Returns:
        dict: ``classes``, ``palette`` and ``mpp``; empty if there is no such file.

    Raises:
        ValueError: If the file is damaged or says something impossible.
    """
    path = Path(folder, INFO_FILE)
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    missing = [key for key in ('classes', 'palette', 'mpp')
               if not isinstance(info, dict) or key not in info]
    if missing:
        raise ValueError(f'{path}: holds no {" and no ".join(missing)}')
    classes, palette = info['classes'], info['palette']
    if not isinstance(classes, list) or len(classes) < 2 or classes[0] != 'background':
        raise ValueError(f'{path}: classes {classes}; expected a list of "background" '
                         'and at least one class')
    if not isinstance(palette, list) or len(palette) != len(classes):
        raise ValueError(f'{path}: palette {palette}; expected [red, green, blue], '
                         f'0-255, for each of the {len(classes)} classes')
    if not isinstance(info['mpp'], int | float) or not info['mpp'] > 0:
        raise ValueError(f'{path}: mpp {info["mpp"]}; expected µm/px above 0')
    return info


def write_info(folder: str | Path, classes: Sequence[str],
               palette: Sequence[Sequence[int]], mpp: float) -> None:
    """Write ``dataset.json``."""
    info = dict(classes=list(classes), palette=[list(color) for color in palette],
                mpp=mpp)
    Path(folder, INFO_FILE).write_text(
        json.dumps(info, ensure_ascii=False) + '\n', encoding='utf-8')


def read_names(path: str | Path, present: Collection[str]) -> list[str]:
    """Read a list of names, one a line; empty lines do not count.

    Args:
        path (str | Path): Text file.
        present (Collection[str]): Names of the pictures that there are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name has no picture or stands there twice, or none is there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file; it lists names of pictures, '
                                'without suffix, one a line')
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    line_of: dict[str, int] = {}
    for number, name in enumerate(map(str.strip, lines), 1):
        if not name:
            continue
        if name in line_of:
            raise ValueError(f'{path}, line {number}: {name!r} stands there already, '
                             f'in line {line_of[name]}')
        if name not in present:
            raise ValueError(f'{path}, line {number}: no picture {name!r} in {IMAGE_DIR}')
        line_of[name] = number
    if not line_of:
        raise ValueError(f'{path}: names no picture')
    return list(line_of)


def natural_key(name: str) -> tuple[list, str]:
    """Sorting key that orders the numbers within a name by value."""
    parts = re.split(r'([0-9]+)', name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
