# Copyright (c) CellVTA-MMSeg contributors.
import base64
import io
import os
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from string import Template

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from ..structures.cell_table import CellTable, SlideInfo
from ..utils.files import complete_file
from .cell_statistics import AREA_BINS, AREA_STEP_UM2, TISSUE_SQUARE_UM, CellStatistics

TEMPLATE = Path(__file__).with_name('report.html')
ALL = 'all'  # name of the map of every class in the page and in its address
SIGMA_BINS = 5.0  # of the smoothing: 50 µm in a picture, 1 % of the side of a slide
LEVELS = 256  # of a map; level 0 is transparent
MAX_OPACITY = 0.8  # the tissue stays visible where nuclei are densest
# Without the violet third of the colours, which would be taken for stain.
GREYS = np.linspace(85, 255, LEVELS).astype(np.uint8)[None]
COLORS = cv2.applyColorMap(GREYS, cv2.COLORMAP_VIRIDIS)[0, :, ::-1]
# Opaque soon, but from 0 on without a step that would look like a border.
OPACITIES = np.rint(
    255 * MAX_OPACITY * (1 - np.linspace(1, 0, LEVELS)**2)).astype(np.uint8)
CROP_UM = 24.0  # width of a gallery picture: large nuclei with some surroundings
BAR_UM = 10.0
JPEG_QUALITY = 88  # 0-100


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


def density(counts: np.ndarray, bin_mm2: float) -> np.ndarray:
    """Smooth nuclei per bin to nuclei per mm².

    At the border of the slide the mean is taken over the part that lies inside.

    Args:
        counts (np.ndarray): (rows, columns) integer, nuclei per bin.
        bin_mm2 (float): Area of a bin, mm².

    Returns:
        np.ndarray: (rows, columns) float64, nuclei per mm².
    """
    inside = gaussian_filter(np.ones(counts.shape), SIGMA_BINS, mode='constant')
    smooth = gaussian_filter(counts.astype(float), SIGMA_BINS, mode='constant')
    return smooth / inside / bin_mm2


def round_up(value: float) -> float:
    """The next number of the form 1, 1.5, 2, 3, 5, 7 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0**np.floor(np.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 5, 7, 10)
                if step * power >= value * (1 - 1e-9))


def encode_map(values: np.ndarray, top: float) -> bytes:
    """A PNG picture of a density map, transparent where there are no nuclei.

    Args:
        values (np.ndarray): (rows, columns) nuclei per mm².
        top (float): Value of the last colour, nuclei per mm².
    """
    levels = np.rint(np.clip(values / top, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    return _encode_levels(levels)


def encode_color_bar() -> bytes:
    """A PNG picture, 1 px high, of all colours from low to high, as over white."""
    return _encode_levels(np.arange(LEVELS, dtype=np.uint8)[None])


def _encode_levels(levels: np.ndarray) -> bytes:
    picture = Image.fromarray(levels)
    picture.putpalette(COLORS.tobytes())
    file = io.BytesIO()
    picture.save(file, 'PNG', transparency=OPACITIES.tobytes())
    return file.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """The file itself as its address; `kind` is 'png' or 'jpeg'."""
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def jpeg_uri(image: np.ndarray) -> str:
    """An RGB picture, (H, W, 3) uint8, as the address of a JPEG file."""
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data_uri(content.tobytes(), 'jpeg')


def css_color(color: tuple[int, int, int]) -> str:
    """An RGB colour, 0-255, as CSS writes it."""
    return '#{:02x}{:02x}{:02x}'.format(*color)


def draw_cell(cell: tuple, mpp: float, name: str, color: tuple[int, int, int],
              read_crop: Callable) -> str:
    """A nucleus with its outline and a scale bar; the unit of the drawing is 1 µm.

    Args:
        cell (tuple): Centroid x, y and outline (K, 2) x, y, in px of level 0.
        mpp (float): Size of a pixel of level 0, µm.
        name (str): Class of the nucleus.
        color (tuple[int, int, int]): Colour of the class, RGB 0-255.
        read_crop (Callable): See `write_report`.
    """
    (x, y), outline = cell
    half = max(1, round(CROP_UM / 2 / mpp))
    picture = jpeg_uri(read_crop(int(x), int(y), 2 * half))
    side = 2 * half * mpp
    points = (outline - (int(x) - half, int(y) - half)) * mpp
    points = ' '.join(f'{x:.2f},{y:.2f}' for x, y in points)
    text = escape(f'{name} nucleus at x {x:.0f}, y {y:.0f} px')
    return (
        f'<svg class="cell" viewBox="0 0 {side:g} {side:g}" role="img" '
        f'aria-label="{text}"><title>{text}</title>'
        f'<image href="{picture}" width="{side:g}" height="{side:g}"/>'
        f'<polygon points="{points}" class="halo"/>'
        f'<polygon points="{points}" stroke="{css_color(color)}"/>'
        f'<path d="M1 {side - 1:g}h{BAR_UM:g}" class="bar"/></svg>')


def draw_area_histogram(bins: np.ndarray, name: str,
                        color: tuple[int, int, int]) -> str:
    """Share of the nuclei of a class per step of area, drawn as bars.

    Args:
        bins (np.ndarray): (AREA_BINS,) int, nuclei per step of AREA_STEP_UM2; at least
            one nucleus.
        name (str): The class.
        color (tuple[int, int, int]): Its colour, RGB 0-255.
    """
    shares = bins / bins.sum()
    width, height = 8 * AREA_BINS, 100
    bars = ''.join(
        f'<path d="M{8 * i} {height}v{-height * share / shares.max():.1f}h7V{height}'
        'z"/>'
        for i, share in enumerate(shares) if share)
    ticks = ''.join(
        f'<text x="{width * quarter / 4}" y="{height + 18}" text-anchor="middle">'
        f'{quarter / 4 * AREA_BINS * AREA_STEP_UM2:g}</text>' for quarter in range(4))
    ticks += (f'<text x="{width + 24}" y="{height + 18}" text-anchor="end">'
              f'{AREA_BINS * AREA_STEP_UM2:g}+ µm²</text>')
    most = int(bins.argmax()) * AREA_STEP_UM2
    text = escape(f'Areas of {name} nuclei: {100 * shares.max():.0f} % of them have '
                  f'{most:g} to {most + AREA_STEP_UM2:g} µm², the most frequent step')
    return (
        f'<svg class="histogram" viewBox="-12 -22 {width + 36} {height + 46}" '
        f'role="img" aria-label="{text}"><title>{text}</title>'
        f'<g fill="{css_color(color)}" class="bars">{bars}</g>'
        f'<path d="M0 {height}H{width}" class="axis"/>{ticks}'
        f'<text x="0" y="-8">{100 * shares.max():.0f} %</text></svg>')
