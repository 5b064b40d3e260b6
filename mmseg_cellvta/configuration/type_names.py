# Copyright (c) CellVTA-MMSeg contributors.
"""What a config means by `type`: a name, one with scope or module, or a class."""


def type_name(config: dict) -> str | None:
    """Returns the name of the class that a config builds; None where it says none.

    Args:
        config: With `type`, a name as `OptimWrapper` or `mmseg.CellSegmentor`, or, in
            MMEngine's pure Python configs, the class itself.
    """
    kind = config.get('type')
    if kind is None:
        return None
    return getattr(kind, '__name__', str(kind).rpartition('.')[2])
