# Copyright (c) CellVTA-MMSeg contributors.
"""What a run tells about itself: a line per input, and where its time went."""
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ..utils.devices import device_module

LOG_SECONDS = 60  # between two lines of a log


class RunProgress:
    """A line per input: tiles done, cells found, area seen, time remaining.

    On a terminal it moves; in a log there is a line at the start, every minute, and at
    the end.

    Args:
        quiet: Print nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self.moves = console.is_terminal
        self.quiet = quiet
        self.bar = Progress(
            TextColumn('{task.description}', markup=False), BarColumn(),
            MofNCompleteColumn(),
            TextColumn('tiles, {task.fields[cells]:,} cells in {task.fields[mm2]:.2f} '
                       'mm²,'),
            TimeRemainingColumn(), TextColumn('left'),
            console=console, disable=quiet or not self.moves)

    def __enter__(self) -> 'RunProgress':
        self.bar.start()
        return self

    def __exit__(self, *error) -> None:
        self.bar.stop()

    def begin(self, name: str, num_tiles: int, mm2_per_tile: float) -> None:
        """Starts the line of an input."""
        self.mm2_per_tile = mm2_per_tile
        self.task = self.bar.add_task(name, total=num_tiles, cells=0, mm2=0.0)
        self.logged = self.start = time.monotonic()
        self._log()

    def add_tiles(self, num_tiles: int) -> None:
        """Counts tiles that have gone through the network."""
        task = self.bar.tasks[self.task]
        self.bar.update(self.task, advance=num_tiles,
                        mm2=(task.completed + num_tiles) * self.mm2_per_tile)
        if time.monotonic() - self.logged >= LOG_SECONDS:
            self._log()

    def add_cells(self, num_cells: int) -> None:
        """Counts cells that were found, some on the border of two bands twice."""
        task = self.bar.tasks[self.task]
        self.bar.update(self.task, cells=task.fields['cells'] + num_cells)

    def finish(self, num_cells: int, mm2: float) -> None:
        """Ends the line of an input with the figures of its summary."""
        self.bar.update(self.task, cells=num_cells, mm2=mm2)
        self._log()

    def _log(self) -> None:
        """Writes a line into a log; Rich would break it to the width of a terminal."""
        self.logged = time.monotonic()
        if self.quiet or self.moves:
            return
        task, seconds = self.bar.tasks[self.task], self.logged - self.start
        left = ''
        if 0 < task.completed < task.total:
            minutes = seconds * (task.total / task.completed - 1) / 60
            left = f', {minutes:.0f} min left'
        print(f'{datetime.now():%H:%M:%S} {task.description}: {task.completed:.0f} of '
              f'{task.total:.0f} tiles, {task.fields["cells"]:,} cells in '
              f'{task.fields["mm2"]:.2f} mm²{left}', file=sys.stderr, flush=True)


class StageClock:
    """Where the time of a run goes, in the main process with all its threads.

    Attributes:
        seconds: Seconds on the wall by stage, float.
        cpu_seconds: Seconds of processors by stage, float.
        busy_seconds: Seconds in which the network computed.
        span_seconds: Seconds from the network's first start to its last end, summed
            over the inputs.
    """

    def __init__(self) -> None:
        self.seconds = defaultdict(float)
        self.cpu_seconds = defaultdict(float)
        self.busy_seconds = self.span_seconds = 0.0
        self.start = time.perf_counter()
        self.cpu_start = time.process_time()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Counts the time spent inside to a stage."""
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start
            self.cpu_seconds[stage] += time.process_time() - cpu_start

    def add_network(self, timer: 'NetworkTimer') -> None:
        """Counts the work of the network on a part of an input."""
        busy, span = timer.read()
        self.busy_seconds += busy
        self.span_seconds += span

    @property
    def idle_share(self) -> float:
        """Share of the time, 0-1, in which the network could have computed and did not.

        Counted from its first start to its last end on every input.
        """
        return 1 - self.busy_seconds / self.span_seconds if self.span_seconds else 0.0

    def table(self, area_mm2: float) -> Table:
        """Lists seconds, share and seconds per mm² of every stage.

        Args:
            area_mm2: What was looked at.
        """
        total = time.perf_counter() - self.start
        cpu_total = time.process_time() - self.cpu_start
        table = Table('stage', 's', 'share', 's/mm²', 'CPU s', 'CPU share',
                      title='where the time went',
                      caption=f'network idle: {self.idle_share:.1%}')
        rows = [(stage, seconds, self.cpu_seconds[stage])
                for stage, seconds in self.seconds.items()]
        rows.append(('other', total - sum(self.seconds.values()),
                     cpu_total - sum(self.cpu_seconds.values())))
        rows.append(('all', total, cpu_total))
        for stage, seconds, cpu_seconds in rows:
            table.add_row(
                stage, f'{seconds:.2f}', f'{seconds / total:.1%}',
                f'{seconds / area_mm2:.2f}' if area_mm2 else '-',
                f'{cpu_seconds:.2f}', f'{cpu_seconds / cpu_total:.1%}')
        return table


class NetworkTimer:
    """Measures when the network computes: on an accelerator by its own clock.

    Nothing waits for the device.

    Args:
        device: Where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self.module = None if device.type == 'cpu' else device_module(device)
        self.marks = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Counts what is asked of the network inside as its work."""
        start = self._mark()
        yield
        self.marks.append((start, self._mark()))

    def read(self) -> tuple[float, float]:
        """Returns seconds of work, and seconds from the first start to the last end."""
        if not self.marks:
            return 0.0, 0.0
        if self.module is not None:
            self.marks[-1][1].synchronize()
        return (sum(self._seconds(*pair) for pair in self.marks),
                self._seconds(self.marks[0][0], self.marks[-1][1]))

    def _mark(self):
        if self.module is None:
            return time.perf_counter()
        event = self.module.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, start, end) -> float:
        if self.module is None:
            return end - start
        return start.elapsed_time(end) / 1000
