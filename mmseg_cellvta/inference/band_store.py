# Copyright (c) CellVTA-MMSeg contributors.
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..structures import CellTable
from ..utils.files import PendingFolder, complete_file

WRITING = 'writing.json'  # in a store of bands


class BandStore:
    """The finished bands of an input on disk, from which interrupted work goes on.

    Args:
        path: They lie in `<path>.part`, which several processes may share.
        settings: What the bands depend on, JSON values.
        choose_batch_size: Called by the first run only.

    Attributes:
        batch_size: That of the first run: another one may round differently.

    Raises:
        FileExistsError: When bands of other settings lie there.
    """

    def __init__(self, path: Path, settings: dict,
                 choose_batch_size: Callable[[], int]) -> None:
        self.folder = PendingFolder(path, settings).part
        batch_file = self.folder / 'batch_size.txt'
        if not batch_file.is_file():
            with complete_file(batch_file) as part:
                part.write_text(str(choose_batch_size()))
        self.batch_size = int(batch_file.read_text())

    def save_damage(self, band: int, damaged: set[tuple[int, int, int]]) -> None:
        """Keeps which blocks of the slide were damaged, see `SlideReader`."""
        if damaged:
            with complete_file(self.folder / f'damaged_{band:05d}.json') as part:
                part.write_text(json.dumps(sorted(damaged)))

    def load_damage(self) -> set[tuple[int, int, int]]:
        """Returns all blocks that were found damaged, by any run or process."""
        return {tuple(block) for path in self.folder.glob('damaged_*.json')
                for block in json.loads(path.read_text())}

    def missing(self, bands: range) -> list[range]:
        """Returns runs of neighbouring bands that are still to be done."""
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
        """Keeps the cells of a band."""
        cells.save(self._path(band))

    def load(self, bands: Sequence[int]) -> Iterator[CellTable]:
        """Returns the cells of bands, one band in memory at a time."""
        return (CellTable.load(self._path(band)) for band in bands)

    def begin_writing(self, suffixes: Sequence[str]) -> None:
        """Notes which files of the results are about to be written."""
        with complete_file(self.folder / WRITING) as part:
            part.write_text(json.dumps(list(suffixes)))

    def remove(self) -> None:
        """Deletes the bands."""
        shutil.rmtree(self.folder)

    def _path(self, band: int) -> Path:
        return self.folder / f'band_{band:05d}.npz'


def read_begun(store: Path) -> list[str]:
    """Returns which files a run has begun to write that left its bands in a store."""
    path = Path(f'{store}.part', WRITING)
    return json.loads(path.read_text()) if path.is_file() else []
