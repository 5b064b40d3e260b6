# Copyright (c) CellVTA-MMSeg contributors.
"""Checkpoints that run code when they are read without protection."""
import os

import torch


class Command:
    """Pickled so that reading it runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command, )


def write_unsafe(path, marker, state_dict, **meta) -> None:
    """Writes a checkpoint that makes `marker`, a file, when its meta is unpickled."""
    torch.save(dict(meta=dict(meta, hidden=Command(f'touch {marker}'), epoch=0, iter=0),
                    state_dict=state_dict), path)
