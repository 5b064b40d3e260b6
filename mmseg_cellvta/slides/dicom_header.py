# Copyright (c) CellVTA-MMSeg contributors.
"""Which slide a DICOM file belongs to, by its header alone.

OpenSlide knows it too, but opens all files of the folder when it opens one of them.
"""
from collections.abc import Iterator
from io import SEEK_CUR
from pathlib import Path
from typing import BinaryIO

MAGIC, MAGIC_END = b'DICM', 132
HEADER_END = 1 << 20  # bytes, by which the series of a slide has come
MAX_VALUE = 64  # bytes of a UID
SOP_CLASS, SYNTAX, SERIES = 0x00020002, 0x00020010, 0x0020000E
WHOLE_SLIDE, IMPLICIT = '1.2.840.10008.5.1.4.1.1.77.1.6', '1.2.840.10008.1.2'
# Kinds of values whose length has 4 bytes and stands behind 2 empty ones.
LONG_KINDS = b'OB OD OF OL OV OW SQ SV UC UN UR UT UV'.split()
DATA = 0x00080000  # tags below it always have kinds
DELIMITERS = 0xFFFE0000  # from here on: no values, but what is around items
ENDS = 0xFFFEE00D, 0xFFFEE0DD  # of an item and a sequence of undefined length
UNDEFINED = 0xFFFFFFFF


def is_dicom(path: Path) -> bool:
    """Returns True if a file begins as DICOM files do.

    Raises:
        OSError: When it cannot be read.
    """
    with open(path, 'rb') as file:
        return _begins_as_dicom(file)


def read_series(path: Path) -> str | None:
    """Returns the UID of the series, which all files of a slide share.

    Args:
        path: Any file; None for one that is no part of a slide in DICOM.

    Raises:
        OSError: When it cannot be read.
    """
    values = {}
    with open(path, 'rb') as file:
        if _begins_as_dicom(file):
            values = dict(_first_values(file))
    if values.get(SOP_CLASS) != WHOLE_SLIDE:
        return None
    return values.get(SERIES) or None  # empty in a damaged file


def _begins_as_dicom(file: BinaryIO) -> bool:
    return file.read(MAGIC_END).endswith(MAGIC, MAGIC_END - len(MAGIC))


def _first_values(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yields tags and short values up to the series, without those inside sequences."""
    implicit, depth, last = False, 0, 0
    while file.tell() < HEADER_END and last < SERIES:
        head = file.read(8)
        tag = _number(head[:2]) << 16 | _number(head[2:4])
        if len(head) < 8:
            return
        if tag >= DELIMITERS or (implicit and tag >= DATA):
            length = _number(head[4:])
        elif head[4:6] in LONG_KINDS:
            length = _number(file.read(4))
        else:
            length = _number(head[6:])
        if depth == 0:
            last = tag
        if tag in ENDS:
            depth -= 1
        elif length == UNDEFINED:
            depth += 1
        elif depth == 0 and length <= MAX_VALUE:
            value = file.read(length)
            if len(value) < length:  # cut off
                return
            text = value.rstrip(b'\0 ').decode('latin-1')
            implicit = implicit or (tag == SYNTAX and text == IMPLICIT)
            yield tag, text
        else:
            file.seek(length, SEEK_CUR)


def _number(value: bytes) -> int:
    return int.from_bytes(value, 'little')
