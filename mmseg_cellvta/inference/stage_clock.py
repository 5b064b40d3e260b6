# Copyright (c) CellVTA-MMSeg contributors.
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from rich.table import Table


class StageClock:
    """Where the time of a run goes.

    Attributes:
        seconds (dict[str, float]): Seconds of the main process by stage.
    """

    def __init__(self) -> None:
        self.seconds = defaultdict(float)
        self.start = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def table(self, area_mm2: float) -> Table:
        """Seconds, share and seconds per mm² of every stage.

        Args:
            area_mm2 (float): What was looked at.
        """
        total = time.perf_counter() - self.start
        table = Table('stage', 's', 'share', 's/mm²', title='where the time went')
        rest = total - sum(self.seconds.values())
        for stage, seconds in [*self.seconds.items(), ('other', rest), ('all', total)]:
            per_area = f'{seconds / area_mm2:.2f}' if area_mm2 else '-'
            table.add_row(stage, f'{seconds:.2f}', f'{seconds / total:.1%}', per_area)
        return table
