# Copyright (c) CellVTA-MMSeg contributors.
"""What images, classes and tissues may be called: their names become files and keys."""
from collections import Counter
from collections.abc import Iterable, Sequence

BACKGROUND = 'background'
MAX_CLASSES = 255  # class maps have 8 bits, and 255 is no class in MMSegmentation


def check_image_names(names: Iterable[str], where: str) -> None:
    """Checks that names of images can name files and stand in lists, one a line.

    Args:
        names: Names of images, without suffix.
        where: File, folder or data set that holds the images, for errors.

    Raises:
        ValueError: When a name is there twice, or is none of a file.
    """
    names = list(names)
    for name in names:
        if not _is_utf8(name):
            raise ValueError(f'{where}: image {name!r}: its name is not in UTF-8; '
                             'rename it')
        if '/' in name or name.splitlines() != [name.strip()]:
            raise ValueError(
                f'{where}: image {name!r}: a name becomes that of a file and a line of '
                'a list; expected one line without / and without blanks around it')
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f'{where}: {len(repeated)} names belong to several images, the first is '
            f'{repeated[0]!r}, so that their results would replace each other; rename '
            'images, or take one data set at a time')


def check_class_names(classes: Sequence[str], where: str) -> None:
    """Checks that classes can be told apart by their names.

    Args:
        classes: Class names, background first.
        where: File or setting that lists them, for errors.

    Raises:
        ValueError: When a name is there twice, whatever the capitals, is empty, has
            blanks around it or characters that cannot be printed; or when there are
            more than fit into a class map.
    """
    if len(classes) > MAX_CLASSES:
        raise ValueError(f'{where}: {len(classes)} classes; expected at most '
                         f'{MAX_CLASSES}, background included')
    for name in classes:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'{where}: class {name!r} is no name')
        if name != name.strip() or not name.isprintable():
            raise ValueError(
                f'{where}: class {name!r} has blanks around it, or a character that '
                'cannot be printed; write it without')
    # Whatever the first one is called, no other may be called background.
    first = [] if classes[0].casefold() == BACKGROUND else [BACKGROUND]
    _check_distinct([*first, *classes], where, 'class')


def check_tissues(tissues: Iterable[str], where: str) -> None:
    """Checks that tissues differ by more than capitals and blanks.

    Args:
        tissues: The different names.
        where: What has them, for errors.

    Raises:
        ValueError: When two names are one tissue.
    """
    _check_distinct(list(tissues), where, 'tissue')


def _check_distinct(names: Sequence[str], where: str, what: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        key = name.strip().casefold()
        if key in seen:
            other = '' if seen[key] == name else f' (also as {seen[key]!r})'
            raise ValueError(f'{where}: {what} {name!r} is there twice{other}; capital '
                             'letters and blanks around it make no difference')
        seen[key] = name


def _is_utf8(name: str) -> bool:
    """Tells if a name came from bytes that are UTF-8; others hold lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
