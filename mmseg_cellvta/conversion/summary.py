# Copyright (c) CellVTA-MMSeg contributors.
"""What a converter says at its end: the table of what it wrote, and remarks."""
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ..datasets.labels import count_nuclei
from ..utils.files import read_item

NUCLEUS_UM = (4, 25)  # median diameter of the nuclei of a data set, µm


class DatasetSummary:
    """Counts of images and nuclei in a converted data set.

    What is counted is what was written, in earlier, interrupted runs too.

    Args:
        classes: Class names without background.

    Attributes:
        images: Number of images by part of the data set.
        empty: Number of images without nuclei by part.
        sizes: Number of images by (height, width) px.
        nuclei: Number of nuclei of each class, int64 (C,), by part.
        areas: Number of nuclei by area, px.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.images: Counter = Counter()
        self.empty: Counter = Counter()
        self.sizes: Counter = Counter()
        self.nuclei: dict[str, np.ndarray] = {}
        self.areas: Counter = Counter()

    def add(self, part: str, labels: np.ndarray) -> None:
        """Counts an image.

        Args:
            part: Part of the data set, such as 'train' or 'fold1'.
            labels: Instance ids and class ids of the image, integer (H, W, 2).
        """
        counts = count_nuclei(labels[..., 0], labels[..., 1], len(self.classes) + 1)
        self.images[part] += 1
        self.empty[part] += not counts.any()
        self.sizes[labels.shape[:2]] += 1
        self.nuclei[part] = self.nuclei.get(part, 0) + counts
        areas = np.bincount(labels[..., 0].ravel())[1:]
        self.areas.update(areas[areas > 0].tolist())

    def add_patches(self, label_path: Path, parts: Sequence[str]) -> None:
        """Counts the patches of a `labels.npy`.

        Args:
            label_path: The file, integer (N, H, W, 2).
            parts: Part of the data set that each patch belongs to.
        """
        for index, part in enumerate(parts):
            self.add(part, read_item(label_path, index))

    def table(self) -> Table:
        """Returns images, empty images and nuclei per class, with a column per part."""
        parts = list(self.images)
        table = Table('', *parts, title=self._size_line())
        table.add_row('images', *(str(self.images[part]) for part in parts))
        table.add_row('without nuclei, %', *(
            f'{100 * self.empty[part] / self.images[part]:.1f}' for part in parts))
        table.add_section()
        for index, name in enumerate(self.classes):
            table.add_row(escape(name),
                          *(_share(self.nuclei[part], index) for part in parts))
        table.add_section()
        table.add_row('nuclei', *(str(self.nuclei[part].sum()) for part in parts))
        return table

    def size_remarks(self, mpp: float) -> list[str]:
        """Returns a remark where nuclei are too small or too large to be true.

        So are outlines in µm instead of px, and a wrong size of a pixel.

        Args:
            mpp: Size of a pixel, µm.
        """
        if not self.areas:
            return []
        diameter = 2 * mpp * np.sqrt(np.median(list(self.areas.elements())) / np.pi)
        low, high = NUCLEUS_UM
        if low <= diameter <= high:
            return []
        return [f'the median diameter of nuclei is {diameter:.1f} µm, {low} to {high} '
                'µm are usual: are the labels in px, and is --mpp right?']

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
    """Runs a converter with progress bars, then prints the table and remarks.

    Args:
        convert: Converts, showing its progress; returns what the data set holds and
            remarks for the user.
        title: Line above the table.

    Raises:
        SystemExit: With one sentence, when the input or the output is not as it must
            be.
    """
    console = Console()
    with Progress(console=console) as progress:
        try:
            summary, remarks = convert(progress)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
    console.out(title)
    console.print(summary.table())
    for remark in remarks:
        console.out(remark)
