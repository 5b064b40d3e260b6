# Copyright (c) CellVTA-MMSeg contributors.
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from rich.table import Table


class StageClock:
    """Where the time of a run goes, in the main process with all its threads.

    Attributes:
        seconds (dict[str, float]): Seconds on the wall by stage.
        cpu_seconds (dict[str, float]): Seconds of processors by stage.
    """

    def __init__(self) -> None:
        self.seconds = defaultdict(float)
        self.cpu_seconds = defaultdict(float)
        self.start = time.perf_counter()
        self.cpu_start = time.process_time()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time spent inside to a stage."""
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start
            self.cpu_seconds[stage] += time.process_time() - cpu_start

    def table(self, area_mm2: float) -> Table:
        """Seconds, share and seconds per mm² of every stage.

        Args:
            area_mm2 (float): What was looked at.
        """
        total = time.perf_counter() - self.start
        cpu_total = time.process_time() - self.cpu_start
        table = Table('stage', 's', 'share', 's/mm²', 'CPU s', 'CPU share',
                      title='where the time went')
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
