# Copyright (c) CellVTA-MMSeg contributors.
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..structures import CellTable
from ..utils.files import PendingFolder, complete_file


class BandStore:
    """The finished bands of a slide on disk, from which interrupted work goes on.

    Args:
        path (Path): Lies in ``<path>.part``, which several processes may share.
        settings (dict): What the bands depend on, JSON values.
        choose_batch_size (Callable): Called by the first run only.

    Attributes:
        batch_size (int): That of the first run: another one may round differently.

    Raises:
        FileExistsError: If bands of other settings lie there.
    """

    def __init__(self, path: Path, settings: dict,
                 choose_batch_size: Callable[[], int]) -> None:
        self.folder = PendingFolder(path, settings).part
        batch_file = self.folder / 'batch_size.txt'
        if not batch_file.is_file():
            with complete_file(batch_file) as part:
                part.write_text(str(choose_batch_size()))
        self.batch_size = int(batch_file.read_text())

    def missing(self, bands: range) -> list[range]:
        """Runs of neighbouring bands that are still to be done."""
        runs = []
        for band in bands:
            if self._path(band).is_file():
                continue
            if runs and runs[-1].stop == band:
                runs[-1] = range(runs[-1].start, band + 1)
            else:
                runs.append(range(band, band + 1))
        return runs

    def save(self, band: int, cells: CellTable) -> None:
        """Keep the cells of a band."""
        cells.save(self._path(band))

    def load(self, bands: Sequence[int]) -> Iterator[CellTable]:
        """The cells of bands, one band in memory at a time."""
        return (CellTable.load(self._path(band)) for band in bands)

    def remove(self) -> None:
        """Delete the bands."""
        shutil.rmtree(self.folder)

    def _path(self, band: int) -> Path:
        return self.folder / f'band_{band:05d}.npz'
