# Copyright (c) CellVTA-MMSeg contributors.
"""A page about the nuclei of a slide: where they are, how many, some of each class."""
import base64
import io
import os
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.image import imsave
from PIL import Image

from ..structures.cell_table import CellTable, SlideInfo
from ..utils.files import complete_file
from ..visualization.drawing import draw_outlines, draw_scale_bar
from .cell_statistics import AREA_BINS, AREA_STEP_UM2, TISSUE_SQUARE_UM, CellStatistics

TEMPLATE = Path(__file__).with_name('report.html')
ALL = 'all'  # name of the map of every class in the page and in its address
COLOR_LEVELS = 256  # of a density map; level 0 is transparent
MAX_OPACITY = 0.8  # the tissue stays visible where nuclei are densest
CROP_UM = 24.0  # width of a gallery image: large nuclei with some surroundings
CROP_SIDE_PX = 240  # smaller crops are enlarged, so that outlines are thin
BAR_UM = 10.0
JPEG_QUALITY = 80  # 0-100
NO_VERSION = {'Software': None}  # equal input, equal bytes

# Called with (x, y, size) in whole px of level 0; returns the (size, size, 3) uint8 RGB
# square whose first pixel is (x - size // 2, y - size // 2), white beyond the slide.
ReadCrop = Callable[[int, int, int], np.ndarray]


def write_report(path: str | os.PathLike, info: SlideInfo, tables: Iterable[CellTable],
                 thumbnail: np.ndarray, read_crop: ReadCrop) -> None:
    """Writes a page about the nuclei of a slide, one file that needs no network.

    Equal input gives equal bytes. Memory does not grow with the number of nuclei.

    Args:
        path: Target `.html` file; its folder must exist.
        info: The image or slide.
        tables: Its nuclei, part after part, each read once.
        thumbnail: The whole slide in small, (h, w, 3) uint8 RGB, 0-255.
        read_crop: Reads the images of the gallery, see `ReadCrop`.

    Raises:
        ValueError: When a class id has no name in `info`.
    """
    statistics = CellStatistics(info)
    for table in tables:
        statistics.add(table)
    page = render_report(statistics, thumbnail, read_crop)
    with complete_file(path) as part:
        part.write_text(page, encoding='utf-8', newline='\n')


def render_report(statistics: CellStatistics, thumbnail: np.ndarray,
                  read_crop: ReadCrop) -> str:
    """Returns the HTML of the page; the arguments are those of `write_report`."""
    info, found = statistics.info, statistics.found_labels
    height, width = (side * info.mpp / 1000 for side in info.shape)
    densities = {ALL: statistics.density(None)}
    densities.update({info.classes[label]: statistics.density(label)
                      for label in found})
    return Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
        name=escape(info.name),
        size=f'{width:.3g} × {height:.3g} mm, {info.shape[1]} × {info.shape[0]} px, '
             f'{info.mpp:.4g} µm/px',
        total=f'{statistics.counts.sum():,}',
        thumbnail=_to_uri(encode_jpeg(thumbnail), 'jpeg'),
        width=info.shape[1], height=info.shape[0],
        links=''.join(f'<a data-link="{escape(name)}">{escape(name)}</a>'
                      for name in densities),
        maps=''.join(_map_image(name, part) for name, part in densities.items()),
        color_bars=''.join(_color_bar(name, part) for name, part in densities.items()),
        sigma=f'{statistics.sigma_um:.3g}',
        rows=''.join(_table_row(_title(info, label), statistics,
                                slice(label, label + 1))
                     for label in range(1, len(info.classes))),
        total_row=_table_row('All', statistics, slice(1, None)),
        tissue=f'{statistics.tissue_mm2:.3g}',
        square=f'{TISSUE_SQUARE_UM:g}',
        crop=f'{CROP_UM:g}', bar=f'{BAR_UM:g}',
        gallery=''.join(_gallery(statistics, label, read_crop) for label in found),
        histograms=''.join(_histogram(statistics, label) for label in found))


# The parts of the page.


def _map_image(name: str, density: np.ndarray) -> str:
    text = escape(f'Density map of {name} nuclei, at most {density.max():,.0f} per mm²')
    uri = _to_uri(encode_map(density, round_up(density.max())), 'png')
    return (f'<img data-class="{escape(name)}" alt="{text}" src="{uri}"'
            f'{_hidden(name)}>\n')


def _color_bar(name: str, density: np.ndarray) -> str:
    levels = np.arange(COLOR_LEVELS)[None]
    uri = _to_uri(encode_map(levels, COLOR_LEVELS - 1), 'png')
    return (f'<p class="colors" data-class="{escape(name)}"{_hidden(name)}>'
            f'<span>{escape(name)}: 0</span>'
            f'<img alt="colours from low to high density" src="{uri}">'
            f'<span>{round_up(density.max()):,g} nuclei per mm²</span></p>\n')


def _hidden(name: str) -> str:
    """Hides all maps but one, which is shown without the page's script."""
    return '' if name == ALL else ' hidden'


def _table_row(title: str, statistics: CellStatistics, labels: slice) -> str:
    """Returns count, share, density and mean area of some classes together."""
    count = statistics.counts[labels].sum()
    share = f'{100 * count / max(1, statistics.counts.sum()):.1f} %'
    cells = '0', share, '0', '–'
    if count:
        area = statistics.area_sums[labels].sum() / count
        cells = (f'{count:,}', share, f'{count / statistics.tissue_mm2:,.0f}',
                 f'{area:.1f}')
    cells = ''.join(f'<td>{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{title}</th>{cells}</tr>\n'


def _title(info: SlideInfo, label: int) -> str:
    """Returns the name of a class after a square of its colour."""
    return (f'<span class="swatch" style="background: {_hex(info.palette[label])}">'
            f'</span>{escape(info.classes[label])}')


def _gallery(statistics: CellStatistics, label: int, read_crop: ReadCrop) -> str:
    info, cells = statistics.info, statistics.sample.cells(label)
    images = []
    for (x, y), outline in cells:
        crop = draw_cell((x, y), outline, info.mpp, info.palette[label], read_crop)
        text = escape(f'{info.classes[label]} nucleus at x {x:.0f}, y {y:.0f} px')
        images.append(f'<img class="cell" alt="{text}" title="{text}" '
                      f'src="{_to_uri(encode_jpeg(crop), "jpeg")}">\n')
    return (f'<h3>{_title(info, label)}: {len(cells)} of '
            f'{statistics.counts[label]:,}</h3>\n'
            f'<div class="cells">\n{"".join(images)}</div>\n')


def _histogram(statistics: CellStatistics, label: int) -> str:
    info, bins = statistics.info, statistics.area_bins[label]
    most = int(bins.argmax()) * AREA_STEP_UM2
    text = escape(f'Areas of {info.classes[label]} nuclei; {most:g} to '
                  f'{most + AREA_STEP_UM2:g} µm² is the most frequent step')
    uri = _to_uri(draw_area_histogram(bins, info.palette[label]), 'png')
    return (f'<figure><figcaption>{_title(info, label)}</figcaption>'
            f'<img alt="{text}" src="{uri}"></figure>\n')


# The images on the page.


def round_up(value: float) -> float:
    """Returns the next of 1, 1.5, 2, 3, 5, 7 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0**np.floor(np.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 5, 7, 10)
                if step * power >= value * (1 - 1e-9))


def encode_map(density: np.ndarray, top: float) -> bytes:
    """Returns a PNG image of a density, transparent where there are no nuclei.

    Args:
        density: (rows, columns) nuclei per mm².
        top: Value of the last colour, nuclei per mm².
    """
    # Without the violet third of the colours, which would be taken for stain.
    colors = matplotlib.colormaps['viridis'](np.linspace(1 / 3, 1, COLOR_LEVELS))
    # Opaque soon, but from 0 on without a step that would look like a border.
    colors[:, 3] = MAX_OPACITY * (1 - np.linspace(1, 0, COLOR_LEVELS)**2)
    file = io.BytesIO()
    imsave(file, density, vmin=0, vmax=top, cmap=ListedColormap(colors), format='png',
           origin='upper', metadata=NO_VERSION)
    return file.getvalue()


def draw_cell(centroid: tuple[float, float], outline: np.ndarray, mpp: float,
              color: Sequence[int], read_crop: ReadCrop) -> np.ndarray:
    """Draws a nucleus with its outline and a scale bar of BAR_UM.

    Args:
        centroid: (x, y) px of level 0.
        outline: (K, 2), (x, y) px of level 0.
        mpp: Size of a pixel of level 0, µm.
        color: Colour of its class, RGB 0-255.
        read_crop: Reads the image around it.

    Returns:
        Square RGB image of about CROP_UM, uint8, no side below CROP_SIDE_PX.
    """
    x, y = map(int, centroid)
    half = max(1, round(CROP_UM / 2 / mpp))
    scale = -(-CROP_SIDE_PX // (2 * half))
    crop = draw_outlines(read_crop(x, y, 2 * half), [outline - (x - half, y - half)],
                         [0], [color], scale)
    return draw_scale_bar(crop, BAR_UM / mpp * scale)


def draw_area_histogram(bins: np.ndarray, color: Sequence[int]) -> bytes:
    """Returns a PNG chart of the areas of the nuclei of a class.

    Args:
        bins: (AREA_BINS,) int, nuclei per step of AREA_STEP_UM2; at least one nucleus.
        color: Colour of the class, RGB 0-255.
    """
    last = AREA_BINS * AREA_STEP_UM2
    ticks = np.linspace(0, last, 5)
    figure = Figure(figsize=(4, 2.2), layout='constrained')
    axes = figure.subplots()
    axes.bar(AREA_STEP_UM2 * np.arange(AREA_BINS), 100 * bins / bins.sum(),
             AREA_STEP_UM2, align='edge', color=_hex(color), edgecolor='0.33',
             linewidth=0.5)
    axes.set(xlim=(0, last), xlabel='area, µm²', ylabel='% of the nuclei')
    axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks[:-1]] + [f'{last:g}+'])
    axes.spines[['top', 'right']].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=200, metadata=NO_VERSION)
    return file.getvalue()


def encode_jpeg(image: np.ndarray) -> bytes:
    """Returns an RGB image, (H, W, 3) uint8, as JPEG; colours at full resolution."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _to_uri(content: bytes, kind: str) -> str:
    """Returns an image file as its address; `kind` is 'png' or 'jpeg'."""
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def _hex(color: Sequence[int]) -> str:
    return to_hex(np.divide(color, 255))
