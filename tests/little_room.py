# Copyright (c) CellVTA-MMSeg contributors.
import resource
from contextlib import contextmanager


@contextmanager
def little_room():
    """Files cannot get larger than 100 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
