# Copyright (c) CellVTA-MMSeg contributors.
"""Classes of the user's own data: from names to ids and colours."""
import colorsys
import os.path as osp
from collections.abc import Iterable, Sequence

from ..utils.files import read_text
from ..utils.names import BACKGROUND, check_class_names

LIST_SUFFIXES = ('.txt', '.csv', '.tsv', '.json', '.lst', '.list')


def parse_classes(text: str) -> list[str]:
    """Reads class names.

    Args:
        text: Names separated by commas, or a text file with one name a line;
            `background` may come first.

    Returns:
        Names, background first; their places are the class ids.

    Raises:
        FileNotFoundError: When the text is the name of a file that is not there.
        ValueError: When there is no name, or a wrong one (see `check_class_names`).
    """
    if osp.isfile(text):  # unlike `Path.is_file`, no error for a long list of names
        names, where = read_text(text).splitlines(), text
    elif ',' not in text and text.strip().lower().endswith(LIST_SUFFIXES):
        raise FileNotFoundError(f'{text}: no such file of class names')
    else:
        names, where = text.split(','), '--classes'
    names = [name.strip() for name in names if name.strip()]
    if where == text and len(names) == 1 and ',' in names[0]:
        raise ValueError(f'{text}: one line, {names[0]!r}; in a file every class has '
                         'a line of its own')
    if names and names[0].casefold() == BACKGROUND:
        del names[0]
    if not names:
        raise ValueError(f'{text!r}: names no class; expected names separated by '
                         'commas, or a text file with one name a line')
    classes = [BACKGROUND, *names]
    check_class_names(classes, where)
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
