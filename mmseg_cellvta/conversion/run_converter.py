# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import Progress

from .summary import DatasetSummary


def run_converter(
        convert: Callable[[Progress], tuple[DatasetSummary, Sequence[str]]],
        title: str) -> None:
    """What the converters' commands share: progress bars, the table, and remarks.

    Args:
        convert (Callable): Converts, showing its progress; returns what the data set
            holds and remarks for the user.
        title (str): Line above the table.

    Raises:
        SystemExit: With one sentence, if the input or the output is not as it must be.
    """
    console = Console()
    with Progress(console=console) as progress:
        try:
            summary, remarks = convert(progress)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
    console.print(title, markup=False)
    console.print(summary.table())
    for remark in remarks:
        console.print(remark, markup=False)
