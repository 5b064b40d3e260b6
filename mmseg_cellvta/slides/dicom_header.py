# Copyright (c) CellVTA-MMSeg contributors.
"""Which slide a DICOM file belongs to, by its header alone.

OpenSlide knows it too, but opens all files of the folder when it opens one of them.
"""
import warnings
from pathlib import Path

MAGIC_AT, MAGIC = 128, b'DICM'
SERIES = 0x0020000E
WHOLE_SLIDE = '1.2.840.10008.5.1.4.1.1.77.1.6'  # SOP class


def is_dicom(path: Path) -> bool:
    """Returns True if a file begins as DICOM files do.

    Raises:
        OSError: When it cannot be read.
    """
    with open(path, 'rb') as file:
        return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC


def read_series(path: Path) -> str | None:
    """Returns the UID of the series, which all files of a slide share.

    Args:
        path: Any file; None for one that is no part of a slide in DICOM, or is damaged,
            and where pydicom is not installed.

    Raises:
        OSError: When it cannot be read.
    """
    if not is_dicom(path):
        return None
    try:
        from pydicom.filereader import read_partial
    except ImportError:  # of the extra "slides", as what would open the slide
        return None
    with open(path, 'rb') as file, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it fails, if so, when it is opened
        try:
            header = read_partial(
                file, lambda tag, *_: tag > SERIES, specific_tags=[SERIES])
            kind = header.file_meta.get('MediaStorageSOPClassUID')
            series = header.get('SeriesInstanceUID')
        except Exception:  # pydicom has no error of its own for damage
            return None
    return str(series) if kind == WHOLE_SLIDE and series else None
