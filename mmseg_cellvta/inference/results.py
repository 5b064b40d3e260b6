# Copyright (c) CellVTA-MMSeg contributors.
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..exports import FORMATS, read_parquet
from ..slides import SlideCanvas
from ..structures import CellTable
from ..utils.files import PART_NAME, complete_file, content_digest
from ..utils.images import write_image
from ..visualization.drawing import draw_outlines
from .settings import find_changes
from .slide_job import SlideJob

THUMBNAIL_SIDE = 2000  # px, of the report
SUMMARY, OVERLAY, REPORT = '_summary.json', '_overlay.png', '_report.html'
CELLS, = FORMATS['parquet']  # holds all that is known of the cells
ALL_SUFFIXES = (*(suffix for files in FORMATS.values() for suffix in files), OVERLAY,
                REPORT)


class SlideResults:
    """The files that an input leaves in the output folder.

    The Parquet file is always among them: formats that are wanted later are written
    from it. The summary lists the files with digests of their content: what others put
    there or changed is not replaced.

    Args:
        out_dir: The folder; it must exist.
        job: The input.
        formats: Keys of `FORMATS`.
        report: Write `<name>_report.html` too.
        settings: What the results depend on; JSON values.
        older: The same as older versions noted it.
    """

    def __init__(self, out_dir: Path, job: SlideJob, formats: Sequence[str],
                 report: bool, settings: dict, older: dict) -> None:
        self.out_dir = out_dir
        self.job = job
        self.formats = {suffix: writer for name in ('parquet', *formats)
                        for suffix, writer in FORMATS[name].items()}
        self.pages = [OVERLAY] * (not job.reader.is_slide) + [REPORT] * report
        self.settings = settings
        self.older = older

    @property
    def suffixes(self) -> list[str]:
        """Ends of the names of all files but the summary."""
        return [*self.formats, *self.pages]

    def read_finished(self) -> dict | None:
        """Returns the summary of an earlier run with the same settings, if any.

        Raises:
            FileExistsError: When there are results of other settings, or a file of
                somebody else where the summary would be.
        """
        path = self._path(SUMMARY)
        if not path.is_file():
            return None
        try:
            summary = json.loads(path.read_text())
            saved = summary['settings']
            changes = find_changes(saved, self.settings, self.older)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _foreign(path) from None
        if changes:
            raise FileExistsError(
                f'{path}: these results were made with other settings: {changes}; '
                'delete them or choose another --out')
        # Older versions did not list their files.
        summary.setdefault('files', dict.fromkeys(
            suffix for suffix in self.suffixes if self._path(suffix).is_file()))
        return summary

    def missing(self, summary: dict) -> list[str]:
        """Returns the ends of the names of files that are not there yet.

        Args:
            summary: That of the run that has found the cells.

        Raises:
            FileExistsError: When somebody else's file is where one would be.
        """
        missing = []
        for suffix in self.suffixes:
            path = self._path(suffix)
            if not path.is_file():
                missing.append(suffix)
            elif suffix not in summary['files']:
                raise _foreign(path)
        return missing

    def refuse_others_files(self, own: dict[str, str | None]) -> None:
        """Makes sure that only files of an earlier run will be replaced.

        Args:
            own: Ends of the names of files that it wrote, with their digests where they
                are known.

        Raises:
            FileExistsError: When a file is somebody else's or was changed.
        """
        for suffix in self.suffixes:
            path = self._path(suffix)
            if path.is_file() and (suffix not in own or own[suffix] not in (
                    None, content_digest([path]))):
                raise _foreign(path)

    def remove_leftovers(self, leftovers: dict[str, list[Path]]) -> None:
        """Removes what killed runs have begun to write.

        Args:
            leftovers: Hidden files by the name that they would have got.
        """
        for suffix in (*ALL_SUFFIXES, SUMMARY):
            for path in leftovers.get(self._path(suffix).name, ()):
                path.unlink(missing_ok=True)

    def read_cells(self, summary: dict) -> Iterator[CellTable] | None:
        """Returns the cells of an earlier run, as many in memory as were in a band.

        Args:
            summary: That of the run.

        Returns:
            None when its Parquet file is gone or was changed.
        """
        path = self._path(CELLS)
        return read_parquet(path, summary['cells']) if path.is_file() else None

    def write(self, tables: Iterable[CellTable], suffixes: Sequence[str]) -> np.ndarray:
        """Writes files.

        Args:
            tables: All cells, from top to bottom.
            suffixes: Which files, as `missing` names them.

        Returns:
            Number of cells (C,) int64 of each class, background first.
        """
        counts = np.zeros(len(self.job.info.classes), np.int64)
        with ExitStack() as stack:
            writers = [
                stack.enter_context(writer(self._path(suffix), self.job.info))
                for suffix, writer in self.formats.items() if suffix in suffixes]
            tables = _write_through(tables, writers, counts)
            self._write_pages(tables, suffixes)
            for _ in tables:
                pass
        return counts

    def write_all(self, tables: Iterable[CellTable],
                  own: dict[str, str | None]) -> dict:
        """Writes all files, the summary last, and returns it.

        Args:
            tables: As in `write`.
            own: Files of an earlier run, as in `refuse_others_files`.
        """
        facts = self.job.facts  # reading for pages may find more damage
        counts = self.write(tables, self.suffixes)
        info = self.job.info
        return self._write_summary(dict(
            name=info.name, shape=info.shape, mpp=info.mpp,
            seen_mm2=round(self.job.seen_mm2, 6), cells=int(counts.sum()),
            cells_by_class=dict(zip(info.classes[1:], counts[1:].tolist(),
                                    strict=True)),
            **facts, settings=self.settings,
            files=own | self._digests(self.suffixes)))

    def add(self, tables: Iterable[CellTable], suffixes: Sequence[str],
            summary: dict) -> dict:
        """Writes further files of a finished input and returns its new summary.

        Args:
            tables: As in `write`.
            suffixes: As in `write`.
            summary: That of the finished input.
        """
        # An interruption must not make own files those of somebody else.
        summary = self._write_summary(
            {**summary, 'files': summary['files'] | dict.fromkeys(suffixes)})
        self.write(tables, suffixes)
        return self._write_summary(
            {**summary, 'files': summary['files'] | self._digests(suffixes)})

    def _digests(self, suffixes: Sequence[str]) -> dict[str, str]:
        return {suffix: content_digest([self._path(suffix)]) for suffix in suffixes}

    def _write_summary(self, summary: dict) -> dict:
        summary = {**summary, 'files': dict(sorted(summary['files'].items()))}
        with complete_file(self._path(SUMMARY)) as part:
            part.write_text(json.dumps(summary, indent=2) + '\n')
        return summary

    def _write_pages(self, tables: Iterator[CellTable],
                     suffixes: Sequence[str]) -> None:
        info, reader = self.job.info, self.job.reader
        if OVERLAY in suffixes:
            cells = CellTable.concatenate(list(tables))
            height, width = info.shape
            drawn = draw_outlines(reader.read(0, 0, 0, width, height),
                                  cells.outlines, cells.labels, info.palette)
            with complete_file(self._path(OVERLAY)) as part:
                write_image(part, drawn)
            tables = iter([cells])
        if REPORT in suffixes:
            # Only here: Matplotlib takes half a second to import.
            from ..exports.html_report import write_report
            write_report(self._path(REPORT), info, tables, self._thumbnail(),
                         self._read_crop)

    def _thumbnail(self) -> np.ndarray:
        """Returns what `info.shape` is the size of, (h, w, 3) uint8 RGB, no side above
        the report's."""
        info, reader = self.job.info, self.job.reader
        shrink = max(max(info.shape) / THUMBNAIL_SIDE, 1)
        canvas = SlideCanvas(reader, reader.mpp * shrink)
        place = np.array([info.origin, info.shape[::-1]]) / canvas.scale
        return canvas.read(*np.rint(place).astype(int).ravel().tolist())

    def _read_crop(self, x: int, y: int, size: int) -> np.ndarray:
        """Returns the (size, size, 3) RGB square of level 0 around a cell's px."""
        left, top = self.job.info.origin
        return self.job.reader.read(
            0, left + x - size // 2, top + y - size // 2, size, size)

    def _path(self, suffix: str) -> Path:
        return self.out_dir / f'{self.job.info.name}{suffix}'


def _foreign(path: Path) -> FileExistsError:
    return FileExistsError(
        f'{path}: no earlier run wrote it, or it was changed since; move it away or '
        'choose another --out')


def find_leftovers(folder: Path) -> dict[str, list[Path]]:
    """Lists what killed processes have begun to write, by the names of the files."""
    leftovers = {}
    for path in folder.iterdir():
        if match := PART_NAME.fullmatch(path.name):
            leftovers.setdefault(match[1], []).append(path)
    return leftovers


def _write_through(tables: Iterable[CellTable], writers: list,
                   counts: np.ndarray) -> Iterator[CellTable]:
    """Passes tables on after giving them to all writers and counting their classes."""
    for table in tables:
        for writer in writers:
            writer.write(table)
        counts += np.bincount(table.labels, minlength=len(counts))
        yield table
