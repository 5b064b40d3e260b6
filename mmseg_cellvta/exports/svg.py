# Copyright (c) CellVTA-MMSeg contributors.
"""Drawings inside a page (SVG): a nucleus in its picture, a histogram."""
import base64
from collections.abc import Callable
from html import escape

import cv2
import numpy as np

from .cell_statistics import AREA_BINS, AREA_STEP_UM2

CROP_UM = 24.0  # width of a gallery picture: large nuclei with some surroundings
BAR_UM = 10.0
JPEG_QUALITY = 88  # 0-100


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
