# Copyright (c) CellVTA-MMSeg contributors.
import hashlib
import json
from typing import Any


def settings_digest(settings: Any, digits: int = 16) -> str:
    """Hexadecimal digits that differ as soon as any setting does.

    Args:
        settings (Any): Nested dicts and lists; what JSON does not know counts as text.
        digits (int): How many. Defaults to 16.
    """
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
