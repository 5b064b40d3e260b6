# Copyright (c) CellVTA-MMSeg contributors.
"""Runs a script of tools/ in this process: importing MMSegmentation takes seconds."""
import runpy
import sys
from pathlib import Path
from unittest import mock

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def run_script(script: str, *args) -> None:
    """Run it as if it had been called; what stops it, stops the caller too."""
    path = str(TOOLS / script)
    with mock.patch.object(sys, 'argv', [path, *map(str, args)]):
        runpy.run_path(path, run_name='__main__')


def run_tool(script: str, *args) -> int | str | None:
    """Run it to its end; returns what it gives to ``sys.exit``, or 0."""
    try:
        run_script(script, *args)
    except SystemExit as stop:
        return stop.code
    return 0
