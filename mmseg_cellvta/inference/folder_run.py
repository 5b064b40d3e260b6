# Copyright (c) CellVTA-MMSeg contributors.
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from mmengine.dist import all_gather_object, get_dist_info

from ..slides import result_name, slide_files
from ..utils.files import content_digest
from .band_store import BandStore, read_begun
from .cells import SeamFilter
from .inferencer import CellInferencer
from .locks import working_alone
from .progress import RunProgress
from .results import SlideResults, find_leftovers
from .slide_job import SlideJob


class InputResult(NamedTuple):
    """What became of an input.

    Attributes:
        source: The input, a path.
        summary: What its summary file holds; empty after an error.
        skipped: True when an earlier run had finished it.
        error: Why there is no result; None when there is one.
    """

    source: Path
    summary: dict
    skipped: bool = False
    error: Exception | None = None


class FolderRun:
    """Finds the cells of many inputs and writes them into a folder.

    Work that was interrupted goes on where it stopped. Under a launcher, the inputs are
    shared out among the processes, or, if there are fewer of them than processes, the
    bands of each input, so that each process has about as many tiles. All processes
    must see the folder.

    Args:
        inferencer: Finds the cells.
        out_dir: Folder of the results; it is made.
        formats: Keys of `exports.FORMATS`; Parquet is always written.
        report: Write an HTML page per input.
        mpp: µm/px of inputs, instead of what the files say.
        tissue_only: See `CellInferencer`.
        quiet: No progress.

    Attributes:
        seen_mm2: What this process has looked at, mm².
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
        self.leftovers = find_leftovers(out_dir)

    def __call__(self, sources: Sequence[Path]) -> Iterator[InputResult]:
        """Works on the inputs; one that fails does not stop the others.

        Yields:
            What became of each input, in the process that has written its files.
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
        """Finds and writes the cells of an input, alone or together with others."""
        with ExitStack() as stack:
            with lockstep(together):
                if writes:
                    lock = self.out_dir / f'.{result_name(source)}.lock'
                    stack.enter_context(working_alone(lock, source))
                job = stack.enter_context(closing(self.inferencer.prepare(
                    source, self.mpp, self.tissue_only)))
                results = SlideResults(self.out_dir, job, self.formats, self.report,
                                       *self._settings(source, job))
                if writes:
                    results.remove_leftovers(self.leftovers)
            with lockstep(together):  # no process finds what another has just written
                finished = results.read_finished()
            if finished is not None:
                with lockstep(together):
                    added = self._add_files(job, results, finished, writes)
                if added is not None:
                    return InputResult(source, *added)
            own = {} if finished is None else finished['files']
            return self._find_and_write(
                source, job, results, own, together, writes, progress)

    def _add_files(self, job: SlideJob, results: SlideResults, summary: dict,
                   writes: bool) -> tuple[dict, bool] | None:
        """Completes a finished input from its cells.

        Returns:
            Its summary, and True when nothing was missing; None when the cells must be
            found again.
        """
        missing = results.missing(summary)
        tables = results.read_cells(summary) if missing else None
        if missing and tables is None:
            return None
        if writes:
            if missing:
                with self.inferencer.clock('writing'):
                    summary = results.add(tables, missing, summary)
            self._remove_store(job)
        return summary, not missing

    def _find_and_write(self, source: Path, job: SlideJob, results: SlideResults,
                        own: dict, together: bool, writes: bool,
                        progress: RunProgress) -> InputResult:
        with lockstep(together):
            own = dict.fromkeys(read_begun(self._store_path(job))) | own
            results.refuse_others_files(own)
            if writes:  # the first one makes it
                self._open_store(job, results.settings)
        with lockstep(together):
            store = self._open_store(job, results.settings)
            with self.inferencer.clock('preparing'):
                plan = job.plan  # looks for tissue, which finished inputs do not need
            bands = range(plan.num_bands)
            mine = plan.share(self.num_ranks)[self.rank] if together else bands
            self._find(job, store, mine, progress)
        if not writes:
            return InputResult(source, {})
        job.reader.damaged |= store.load_damage()
        with self.inferencer.clock('writing'):
            results.refuse_others_files(own)  # others may have been put there since
            store.begin_writing([*own, *results.suffixes])
            seams = SeamFilter(job.info.mpp)
            summary = results.write_all(
                (seams(cells) for cells in store.load(bands)), own)
        store.remove()
        progress.finish(summary['cells'], summary['seen_mm2'])
        return InputResult(source, summary)

    def _settings(self, source: Path, job: SlideJob) -> tuple[dict, dict]:
        """Returns what the cells depend on, and the same as older versions noted it."""
        with self.inferencer.clock('preparing'):
            content = content_digest(slide_files(source))
        settings = dict(self.inferencer.settings, content=content, mpp=job.info.mpp,
                        tissue_only=job.tissue_only)
        if job.reader.bounds is None:
            settings.pop('origin', None)  # nothing else to count from
        return (
            settings,
            dict(self.inferencer.older_settings, input=source.name,
                 bytes=source.stat().st_size, mpp=job.info.mpp,
                 tissue_only=self.tissue_only))

    def _open_store(self, job: SlideJob, settings: dict) -> BandStore:
        return BandStore(self._store_path(job), settings,
                         lambda: self.inferencer.choose_batch_size(job))

    def _remove_store(self, job: SlideJob) -> None:
        """Removes the bands of a finished input, which an interruption may leave."""
        shutil.rmtree(f'{self._store_path(job)}.part', ignore_errors=True)

    def _store_path(self, job: SlideJob) -> Path:
        return self.out_dir / f'{job.info.name}.bands'

    def _find(self, job: SlideJob, store: BandStore, bands: range,
              progress: RunProgress) -> None:
        """Finds the cells of the bands that are not in the store yet."""
        plan, runs = job.plan, store.missing(bands)
        num_tiles = sum(map(plan.num_tiles, runs))
        mm2_per_tile = job.seen_mm2 / max(plan.num_tiles(range(plan.num_bands)), 1)
        self.seen_mm2 += num_tiles * mm2_per_tile
        progress.begin(job.info.name, num_tiles, mm2_per_tile)
        for run in runs:
            for band, cells in self.inferencer.scan(
                    job, run, store.batch_size, progress.add_tiles):
                store.save_damage(band, job.reader.damaged)
                store.save(band, cells)
                progress.add_cells(len(cells))


@contextmanager
def lockstep(together: bool) -> Iterator[None]:
    """A step after which all processes meet; an error of one is raised in all.

    Args:
        together: True when all processes take this step; one that works on its own
            meets nobody.

    Raises:
        RuntimeError: When the step failed in another process.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    if together:
        texts = all_gather_object(None if error is None else str(error))
        others = [RuntimeError(text) for text in texts if text is not None]
        error = error or next(iter(others), None)
    if error is not None:
        raise error
