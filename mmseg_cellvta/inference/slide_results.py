# Copyright (c) CellVTA-MMSeg contributors.
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..exports import FORMATS
from ..slides import SlideCanvas
from ..structures import CellTable
from ..utils.files import complete_file
from ..utils.images import write_image
from ..visualization.drawing import draw_outlines
from .slide_job import SlideJob

THUMBNAIL_SIDE = 2000  # px, of the report
SUMMARY, OVERLAY, REPORT = '_summary.json', '_overlay.png', '_report.html'


class SlideResults:
    """The files that an input leaves in the output folder.

    Args:
        out_dir (Path): The folder; it must exist.
        job (SlideJob): The input.
        formats (Sequence[str]): Keys of `FORMATS`.
        report (bool): Write ``<name>_report.html`` too.
        settings (dict): What the results depend on; JSON values.
    """

    def __init__(self, out_dir: Path, job: SlideJob, formats: Sequence[str],
                 report: bool, settings: dict) -> None:
        self.out_dir = out_dir
        self.job = job
        self.formats = formats
        self.report = report
        self.settings = settings

    def read_finished(self) -> dict | None:
        """The summary of an earlier run with the same settings, if there is one.

        It does not count if a file that is wanted now was not wanted then.

        Raises:
            FileExistsError: If there are results of other settings.
        """
        path = self._path(SUMMARY)
        if not path.is_file():
            return None
        summary = json.loads(path.read_text())
        if summary['settings'] != json.loads(json.dumps(self.settings)):
            raise FileExistsError(
                f'{path}: these results were made with other settings; delete them or '
                'choose another --out')
        complete = all(self._path(suffix).is_file() for suffix in self._suffixes())
        return summary if complete else None

    def write(self, tables: Iterable[CellTable]) -> dict:
        """Write all files, the summary last.

        Args:
            tables (Iterable[CellTable]): All cells, from top to bottom.

        Returns:
            dict: The summary.
        """
        counts = np.zeros(len(self.job.info.classes), np.int64)
        with ExitStack() as stack:
            writers = [
                stack.enter_context(writer(self._path(suffix), self.job.info))
                for suffix, writer in (FORMATS[name] for name in self.formats)]
            tables = _write_through(tables, writers, counts)
            self._write_pictures(tables)
            for _ in tables:
                pass
        summary = self._summarize(counts)
        with complete_file(self._path(SUMMARY)) as part:
            part.write_text(json.dumps(summary, indent=2) + '\n')
        return summary

    def _write_pictures(self, tables: Iterator[CellTable]) -> None:
        info, reader = self.job.info, self.job.reader
        if not reader.is_slide:
            cells = CellTable.concatenate(list(tables))
            height, width = info.shape
            picture = draw_outlines(reader.read(0, 0, 0, width, height),
                                    cells.outlines, cells.labels, info.palette)
            with complete_file(self._path(OVERLAY)) as part:
                write_image(part, picture)
            tables = iter([cells])
        if self.report:
            # Only here: Matplotlib takes half a second to import.
            from ..exports.html_report import write_report
            write_report(self._path(REPORT), info, tables, self._thumbnail(),
                         self._read_crop)

    def _thumbnail(self) -> np.ndarray:
        """The whole input, (h, w, 3) uint8 RGB, no side longer than the report's."""
        reader = self.job.reader
        shrink = max(max(reader.shape) / THUMBNAIL_SIDE, 1)
        canvas = SlideCanvas(reader, reader.mpp * shrink)
        return canvas.read(0, 0, *canvas.shape[::-1])

    def _read_crop(self, x: int, y: int, size: int) -> np.ndarray:
        """The (size, size, 3) RGB square of level 0 around a px, see `write_report`."""
        return self.job.reader.read(0, x - size // 2, y - size // 2, size, size)

    def _summarize(self, counts: np.ndarray) -> dict:
        info, plan = self.job.info, self.job.plan
        seen_mm2 = plan.num_tiles(range(plan.num_bands)) * self.job.tile_mm2
        return dict(
            name=info.name, shape=info.shape, mpp=info.mpp,
            seen_mm2=round(seen_mm2, 4),
            cells=int(counts.sum()),
            cells_by_class=dict(zip(info.classes[1:], counts[1:].tolist(),
                                    strict=True)),
            settings=self.settings)

    def _suffixes(self) -> list[str]:
        """Of all files besides the summary."""
        suffixes = [FORMATS[name][0] for name in self.formats]
        if not self.job.reader.is_slide:
            suffixes.append(OVERLAY)
        if self.report:
            suffixes.append(REPORT)
        return suffixes

    def _path(self, suffix: str) -> Path:
        return self.out_dir / f'{self.job.info.name}{suffix}'


def _write_through(tables: Iterable[CellTable], writers: list,
                   counts: np.ndarray) -> Iterator[CellTable]:
    """Pass tables on after giving them to all writers and counting their classes."""
    for table in tables:
        for writer in writers:
            writer.write(table)
        counts += np.bincount(table.labels, minlength=len(counts))
        yield table
