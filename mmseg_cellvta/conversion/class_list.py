# Copyright (c) CellVTA-MMSeg contributors.
"""Classes of the user's own data: from names to ids and colours."""
import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path

BACKGROUND = 'background'


def parse_classes(text: str) -> list[str]:
    """Reads class names.

    Args:
        text: Names separated by commas, or a text file with one name a line;
            `background` may come first.

    Returns:
        Names, background first; their places are the class ids.

    Raises:
        ValueError: When there is no name, or one is there twice.
    """
    if Path(text).is_file():
        names = Path(text).read_text(encoding='utf-8').splitlines()
    else:
        names = text.split(',')
    names = [name.strip() for name in names if name.strip()]
    if names and names[0].casefold() == BACKGROUND:
        del names[0]
    if not names:
        raise ValueError(f'{text!r}: names no class; expected names separated by '
                         'commas, or a text file with one name a line')
    classes = [BACKGROUND, *names]
    folded = [name.casefold() for name in classes]
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise ValueError(f'{text!r}: class {name!r} is there twice; capital '
                             'letters make no difference')
    return classes


def make_palette(num_classes: int) -> list[list[int]]:
    """Returns a colour for each class, RGB 0-255: black, then hues from red to blue.

    Purple and pink are left out; they would not stand out from H&E.
    """
    hues = [0.66 * (0.618 * i % 1) for i in range(num_classes - 1)]
    colors = [colorsys.hsv_to_rgb(hue, 0.9, 1.0) for hue in hues]
    return [[0, 0, 0], *([round(255 * value) for value in color] for color in colors)]


def find_class(names: Iterable[str | None], classes: Sequence[str], where: str) -> int:
    """Returns the id of the first name that is a class; an only class needs no name.

    Args:
        names: Names from a label file; None and '' do not count.
        classes: Class names, background first.
        where: Place in the file, for errors.

    Raises:
        ValueError: When no name is a class.
    """
    if len(classes) == 2:
        return 1
    said = [name for name in names if name]
    ids = {name.casefold(): i for i, name in enumerate(classes) if i}
    for name in said:
        if name.strip().casefold() in ids:
            return ids[name.strip().casefold()]
    found = f'class {" / ".join(map(repr, said))} is none' if said else 'no class; none'
    raise ValueError(f'{where}: {found} of {", ".join(classes[1:])}; correct the file '
                     'or --classes')
