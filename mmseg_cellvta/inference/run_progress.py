# Copyright (c) CellVTA-MMSeg contributors.
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class RunProgress:
    """A line per input: tiles done, cells found, tissue seen, time remaining.

    Args:
        quiet (bool): Print nothing. Defaults to False.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.bar = Progress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TextColumn('tiles, {task.fields[cells]} cells in {task.fields[mm2]:.2f} '
                       'mm²,'),
            TimeRemainingColumn(), TextColumn('left'),
            console=Console(stderr=True), disable=quiet)

    def __enter__(self) -> 'RunProgress':
        self.bar.start()
        return self

    def __exit__(self, *error) -> None:
        self.bar.stop()

    def begin(self, name: str, num_tiles: int, mm2_per_tile: float) -> None:
        """Start the line of an input."""
        self.mm2_per_tile = mm2_per_tile
        self.task = self.bar.add_task(name, total=num_tiles, cells=0, mm2=0.0)

    def add_tiles(self, num_tiles: int) -> None:
        """Tiles have gone through the network."""
        task = self.bar.tasks[self.task]
        self.bar.update(self.task, advance=num_tiles,
                        mm2=(task.completed + num_tiles) * self.mm2_per_tile)

    def add_cells(self, num_cells: int) -> None:
        """Cells have been found."""
        task = self.bar.tasks[self.task]
        self.bar.update(self.task, cells=task.fields['cells'] + num_cells)
