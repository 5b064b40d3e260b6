# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from mmengine.dist import get_dist_info

from .band_store import BandStore
from .cell_inferencer import CellInferencer
from .lockstep import lockstep
from .run_progress import RunProgress
from .seam_filter import SeamFilter
from .slide_job import SlideJob
from .slide_results import SlideResults


class InputResult(NamedTuple):
    """What became of an input.

    Attributes:
        source (Path): The input.
        summary (dict): What its summary file holds; empty after an error.
        skipped (bool): An earlier run had finished it.
        error (Exception | None): Why there is no result.
    """

    source: Path
    summary: dict
    skipped: bool = False
    error: Exception | None = None


class FolderRun:
    """Finds the cells of many inputs and writes them into a folder.

    Work that was interrupted goes on where it stopped. Under a launcher, the inputs are
    shared out among the processes, or, if there are fewer of them than processes, the
    bands of each input. All processes must see the folder.

    Args:
        inferencer (CellInferencer): Finds the cells.
        out_dir (Path): Folder of the results; it is made.
        formats (Sequence[str]): Keys of `exports.FORMATS`.
        report (bool): Write an HTML page per input.
        mpp (float, optional): µm/px of inputs, instead of what the files say.
        tissue_only (bool, optional): See `CellInferencer`.
        quiet (bool): No progress.

    Attributes:
        seen_mm2 (float): What this process has looked at, without overlaps.
    """

    def __init__(self, inferencer: CellInferencer, out_dir: Path,
                 formats: Sequence[str] = ('geojson', 'parquet'), report: bool = False,
                 mpp: float | None = None, tissue_only: bool | None = None,
                 quiet: bool = False) -> None:
        self.inferencer = inferencer
        self.out_dir = out_dir
        self.formats = formats
        self.report = report
        self.mpp = mpp
        self.tissue_only = tissue_only
        self.quiet = quiet
        self.seen_mm2 = 0.0
        self.rank, self.num_ranks = get_dist_info()
        out_dir.mkdir(parents=True, exist_ok=True)

    def __call__(self, sources: Sequence[Path]) -> Iterator[InputResult]:
        """Work on the inputs; one that fails does not stop the others.

        Yields:
            InputResult: Of each input, in the process that has written its files.
        """
        together = len(sources) < self.num_ranks
        mine = sources if together else sources[self.rank::self.num_ranks]
        writes = not together or self.rank == 0
        for source in mine:
            with RunProgress(self.quiet or not writes) as progress:
                try:
                    result = self._process(source, together, writes, progress)
                except Exception as error:  # a decoder or a driver may raise anything
                    result = InputResult(source, {}, error=error)
            if writes:
                yield result

    def _process(self, source: Path, together: bool, writes: bool,
                 progress: RunProgress) -> InputResult:
        """Find and write the cells of an input, alone or together with others."""
        with ExitStack() as stack:
            with lockstep(together):
                job = stack.enter_context(closing(self.inferencer.prepare(
                    source, self.mpp, self.tissue_only)))
            return self._process_job(source, job, together, writes, progress)

    def _process_job(self, source: Path, job: SlideJob, together: bool, writes: bool,
                     progress: RunProgress) -> InputResult:
        """The same for an input that is open."""
        with lockstep(together):
            settings = self._settings(source, job)
            results = SlideResults(
                self.out_dir, job, self.formats, self.report, settings)
            finished = results.read_finished()
            if finished is None and writes:
                self._open_store(job, settings)
        if finished is not None:
            return InputResult(source, finished, skipped=True)
        with lockstep(together):
            store = self._open_store(job, settings)
            with self.inferencer.clock('preparing'):
                plan = job.plan  # looks for tissue, which finished inputs do not need
            bands = range(plan.num_bands)
            if together:
                bands = _share(bands, self.rank, self.num_ranks)
            self._find(job, store, bands, progress)
        if not writes:
            return InputResult(source, {})
        seams = SeamFilter(job.info.mpp)
        with self.inferencer.clock('writing'):
            summary = results.write(
                seams(cells) for cells in store.load(range(plan.num_bands)))
        store.remove()
        return InputResult(source, summary)

    def _settings(self, source: Path, job: SlideJob) -> dict:
        """What the cells of an input depend on."""
        return dict(self.inferencer.settings, input=source.name,
                    bytes=source.stat().st_size, mpp=job.info.mpp,
                    tissue_only=self.tissue_only)

    def _open_store(self, job: SlideJob, settings: dict) -> BandStore:
        return BandStore(self.out_dir / f'{job.info.name}.bands', settings,
                         lambda: self.inferencer.choose_batch_size(job))

    def _find(self, job: SlideJob, store: BandStore, bands: range,
              progress: RunProgress) -> None:
        """Find the cells of the bands that are not in the store yet."""
        runs = store.missing(bands)
        num_tiles = sum(map(job.plan.num_tiles, runs))
        self.seen_mm2 += num_tiles * job.tile_mm2
        progress.begin(job.info.name, num_tiles, job.tile_mm2)
        for run in runs:
            for band, cells in self.inferencer.scan(
                    job, run, store.batch_size, progress.add_tiles):
                store.save(band, cells)
                progress.add_cells(len(cells))


def _share(bands: range, rank: int, num_ranks: int) -> range:
    """The neighbouring bands that a process works on."""
    return bands[len(bands) * rank // num_ranks:len(bands) * (rank + 1) // num_ranks]
