# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Callable, Iterable

import numpy as np

from ..structures.cell_table import CellTable
from ..structures.slide_info import SlideInfo
from ..utils.files import complete_file
from .cell_statistics import CellStatistics
from .html_report import render_report


def write_report(path: str | os.PathLike, info: SlideInfo, tables: Iterable[CellTable],
                 thumbnail: np.ndarray,
                 read_crop: Callable[[int, int, int], np.ndarray]) -> None:
    """Write a page about the nuclei of a slide, one file that needs no network.

    Equal input gives equal bytes. Memory does not grow with the number of nuclei.

    Args:
        path (str | os.PathLike): Target ``.html`` file; its folder must exist.
        info (SlideInfo): The picture or slide.
        tables (Iterable[CellTable]): Its nuclei, part after part, each read once.
        thumbnail (np.ndarray): All of it in small, (h, w, 3) uint8 RGB, 0-255.
        read_crop (Callable): Called with x, y, size in whole px of level 0; returns the
            (size, size, 3) uint8 RGB square whose first pixel is
            (x - size // 2, y - size // 2), white where it leaves the slide.

    Raises:
        ValueError: If a class id has no name in `info`.
    """
    statistics = CellStatistics(info)
    for table in tables:
        statistics.add(table)
    page = render_report(statistics, thumbnail, read_crop)
    with complete_file(path) as part:
        part.write_text(page, encoding='utf-8', newline='\n')
