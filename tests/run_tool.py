# Copyright (c) CellVTA-MMSeg contributors.
"""Runs a script of tools/ in this process: importing MMSegmentation takes seconds."""
import runpy
import sys
from pathlib import Path
from unittest import mock

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def run_script(script: str, *args) -> None:
    """Run it as if it had been called; what stops it, stops the caller too."""
    path = TOOLS / script
    with mock.patch.object(sys, 'argv', [str(path), *map(str, args)]), \
            mock.patch.object(sys, 'path', [str(path.parent), *sys.path]):
        runpy.run_path(str(path), run_name='__main__')


def run_tool(script: str, *args) -> int | str | None:
    """Run it to its end; returns what it gives to ``sys.exit``, or 0."""
    try:
        run_script(script, *args)
    except SystemExit as stop:
        return stop.code
    return 0
