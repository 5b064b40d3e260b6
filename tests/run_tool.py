# Copyright (c) CellVTA-MMSeg contributors.
"""Runs a script of tools/ in this process: importing MMSegmentation takes seconds."""
import runpy
import sys
from pathlib import Path
from unittest import mock

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def run_tool(script: str, *args) -> int | str | None:
    """Run it to its end; returns what it gives to ``sys.exit``, or 0."""
    path = str(TOOLS / script)
    with mock.patch.object(sys, 'argv', [path, *map(str, args)]):
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as stop:
            return stop.code
    return 0
