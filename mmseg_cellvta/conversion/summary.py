# Copyright (c) CellVTA-MMSeg contributors.
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..datasets.labels import count_nuclei, read_item


class DatasetSummary:
    """Counts what a data set holds, for the table that ends a conversion.

    Args:
        classes (Sequence[str]): Class names without background.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.images: Counter = Counter()
        self.empty: Counter = Counter()
        self.sizes: Counter = Counter()
        self.nuclei: dict[str, np.ndarray] = {}

    def add(self, part: str, shape: tuple[int, int], counts: Sequence[int]) -> None:
        """Count an image.

        Args:
            part (str): Part of the data set, such as 'train' or 'fold1'.
            shape (tuple[int, int]): (height, width) px.
            counts (Sequence[int]): Nuclei of each class, without background.
        """
        self.images[part] += 1
        self.empty[part] += sum(counts) == 0
        self.sizes[tuple(shape)] += 1
        zeros = np.zeros(len(self.classes), np.int64)
        self.nuclei[part] = self.nuclei.get(part, zeros) + np.asarray(counts)

    def add_patches(self, label_path: Path, parts: Sequence[str]) -> None:
        """Count the patches of a ``labels.npy`` (see ``patch_arrays``).

        What is counted is what was written, also by a conversion that was interrupted.

        Args:
            label_path (Path): The file.
            parts (Sequence[str]): Part of the data set that each patch belongs to.
        """
        for index, part in enumerate(parts):
            labels = read_item(label_path, index)
            counts = count_nuclei(
                labels[..., 0], labels[..., 1], len(self.classes) + 1)
            self.add(part, labels.shape[:2], counts)

    def table(self) -> Table:
        """Images, nuclei per class and share of empty images, a column per part."""
        parts = list(self.images)
        table = Table('', *parts, title=self._size_line())
        table.add_row('images', *(str(self.images[part]) for part in parts))
        table.add_row('without nuclei, %', *(
            f'{100 * self.empty[part] / self.images[part]:.1f}' for part in parts))
        table.add_section()
        for index, name in enumerate(self.classes):
            table.add_row(name, *(_share(self.nuclei[part], index) for part in parts))
        table.add_section()
        table.add_row('nuclei', *(str(self.nuclei[part].sum()) for part in parts))
        return table

    def _size_line(self) -> str:
        if not self.sizes:
            return 'no images'
        (height, width), count = self.sizes.most_common(1)[0]
        if len(self.sizes) == 1:
            return f'every image {width} x {height} px'
        return (f'{len(self.sizes)} sizes, most often {width} x {height} px '
                f'({count} images)')


def _share(counts: np.ndarray, index: int) -> str:
    return f'{counts[index]} ({100 * counts[index] / max(counts.sum(), 1):.1f} %)'


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
