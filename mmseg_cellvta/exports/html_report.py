# Copyright (c) CellVTA-MMSeg contributors.
"""The text of a report: fills the template `report.html`."""
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from .cell_statistics import TISSUE_SQUARE_UM, CellStatistics
from .density_map import SIGMA_BINS, density, encode_color_bar, encode_map, round_up
from .svg import (
    BAR_UM,
    CROP_UM,
    css_color,
    data_uri,
    draw_area_histogram,
    draw_cell,
    jpeg_uri,
)

TEMPLATE = Path(__file__).with_name('report.html')
ALL = 'all'  # name of the map of every class in the page and in its address


def render_report(statistics: CellStatistics, thumbnail: np.ndarray,
                  read_crop: Callable[[int, int, int], np.ndarray]) -> str:
    """The whole page.

    Args:
        statistics (CellStatistics): Of all nuclei of the slide.
        thumbnail (np.ndarray): See `write_report`, as `read_crop`.
        read_crop (Callable): Pictures for the gallery.

    Returns:
        str: HTML that needs no other file. Equal input gives equal text.
    """
    info = statistics.info
    height, width = (side * info.mpp / 1000 for side in info.shape)
    maps = _density_maps(statistics)
    return Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
        name=escape(info.name),
        size=f'{width:.3g} × {height:.3g} mm, {info.shape[1]} × {info.shape[0]} px, '
             f'{info.mpp:.4g} µm/px',
        total=f'{statistics.counts.sum():,}',
        thumbnail=jpeg_uri(thumbnail),
        ratio=f'{info.shape[1]} / {info.shape[0]}',
        links=''.join(_link(name) for name in maps),
        maps=''.join(_map_image(name, *drawn) for name, drawn in maps.items()),
        color_bars=''.join(
            _color_bar(name, top) for name, (_, top) in maps.items()),
        sigma=f'{_sigma_um(statistics):.3g}',
        rows=''.join(_table_row(statistics, label)
                     for label in range(1, len(info.classes))),
        total_row=_row('All', *_figures(statistics, slice(1, None))),
        tissue=f'{statistics.tissue_mm2:.3g}',
        square=f'{TISSUE_SQUARE_UM:g}',
        crop=f'{CROP_UM:g}', bar=f'{BAR_UM:g}',
        gallery=''.join(_gallery(statistics, label, read_crop)
                        for label in _found_labels(statistics)),
        histograms=''.join(_histogram(statistics, label)
                           for label in _found_labels(statistics)))


def _found_labels(statistics: CellStatistics) -> list[int]:
    """The classes that have nuclei; of the others only the table speaks."""
    return [label for label, count in enumerate(statistics.counts) if label and count]


def _density_maps(statistics: CellStatistics) -> dict[str, tuple[np.ndarray, float]]:
    """Density and value of its last colour, nuclei per mm², of all and each found."""
    info, grid = statistics.info, statistics.grid
    bin_mm2 = np.prod(info.shape) * info.mpp**2 * 1e-6 / grid[0].size
    counts = {ALL: grid[1:].sum(axis=0)}
    counts.update({info.classes[label]: grid[label]
                   for label in _found_labels(statistics)})
    values = {name: density(part, bin_mm2) for name, part in counts.items()}
    return {name: (part, round_up(part.max())) for name, part in values.items()}


def _sigma_um(statistics: CellStatistics) -> float:
    """Sigma of the smoothing of the density maps, µm."""
    info, grid = statistics.info, statistics.grid
    return SIGMA_BINS * max(info.shape) / max(grid.shape[1:]) * info.mpp


def _link(name: str) -> str:
    return f'<a data-link="{escape(name)}">{escape(name)}</a>'


def _hidden(name: str) -> str:
    """Without the page's script, the map of all classes is the one to be seen."""
    return '' if name == ALL else ' hidden'


def _map_image(name: str, values: np.ndarray, top: float) -> str:
    text = escape(f'Density map of {name} nuclei, at most {values.max():,.0f} per mm²')
    return (f'<img class="map" data-class="{escape(name)}" alt="{text}" '
            f'src="{data_uri(encode_map(values, top), "png")}"{_hidden(name)}>')


def _color_bar(name: str, top: float) -> str:
    return (
        f'<p class="colors" data-class="{escape(name)}"{_hidden(name)}>'
        f'<span>{escape(name)}: 0</span>'
        f'<img alt="colours from low to high density" '
        f'src="{data_uri(encode_color_bar(), "png")}">'
        f'<span>{top:,g} nuclei per mm²</span></p>')


def _figures(statistics: CellStatistics, labels: slice) -> tuple[str, str, str, str]:
    """Count, share, density and mean area of some classes together."""
    count = statistics.counts[labels].sum()
    share = 100 * count / max(1, statistics.counts.sum())
    if count == 0:
        return '0', f'{share:.1f} %', '0', '–'
    area = statistics.area_sums[labels].sum() / count
    return (f'{count:,}', f'{share:.1f} %', f'{count / statistics.tissue_mm2:,.0f}',
            f'{area:.1f}')


def _row(title: str, *figures: str) -> str:
    cells = ''.join(f'<td>{figure}</td>' for figure in figures)
    return f'<tr><th scope="row">{title}</th>{cells}</tr>\n'


def _title(statistics: CellStatistics, label: int) -> str:
    """The name of a class behind a square of its colour."""
    info = statistics.info
    return ('<svg class="swatch" viewBox="0 0 1 1" aria-hidden="true">'
            f'<rect width="1" height="1" fill="{css_color(info.palette[label])}"/>'
            f'</svg>{escape(info.classes[label])}')


def _table_row(statistics: CellStatistics, label: int) -> str:
    return _row(_title(statistics, label),
                *_figures(statistics, slice(label, label + 1)))


def _gallery(statistics: CellStatistics, label: int, read_crop: Callable) -> str:
    info = statistics.info
    cells = statistics.sample.cells(label)
    drawings = ''.join(
        draw_cell(cell, info.mpp, info.classes[label], info.palette[label], read_crop)
        for cell in cells)
    return (f'<h3>{_title(statistics, label)}: {len(cells)} of '
            f'{statistics.counts[label]:,}</h3>\n<div class="cells">{drawings}</div>\n')


def _histogram(statistics: CellStatistics, label: int) -> str:
    info = statistics.info
    drawing = draw_area_histogram(
        statistics.area_bins[label], info.classes[label], info.palette[label])
    return (f'<figure><figcaption>{_title(statistics, label)}</figcaption>{drawing}'
            '</figure>\n')
