# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import all_gather_object


@contextmanager
def lockstep(together: bool) -> Iterator[None]:
    """A step after which all processes meet; an error of one is raised in all.

    Args:
        together (bool): Whether all processes take this step. A process that works on
            its own meets nobody.

    Raises:
        RuntimeError: If the step failed in another process.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    if together:
        texts = all_gather_object(None if error is None else str(error))
        others = [RuntimeError(text) for text in texts if text is not None]
        error = error or next(iter(others), None)
    if error is not None:
        raise error
