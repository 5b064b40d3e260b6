# Copyright (c) CellVTA-MMSeg contributors.
"""Plain drawing of nuclei on pictures: numpy, OpenCV and Pillow only."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

# Points of cv2.polylines in 1/16 px, so that enlarged contours are smooth.
SUBPIXEL_BITS = 4
THICKNESS_PX = 2
TEXT_COLOR = (34, 34, 34)
BACKGROUND_COLOR = (255, 255, 255)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """A copy of an RGB picture, (H, W, 3) uint8, ``scale`` times as large."""
    size = (image.shape[1] * scale, image.shape[0] * scale)
    # Contiguous: OpenCV cannot draw on a view such as a BGR picture read backwards.
    image = np.ascontiguousarray(image)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def draw_cells(
    image: np.ndarray,
    inst_map: np.ndarray,
    classes: np.ndarray,
    palette: list,
    scale: int = 1,
) -> np.ndarray:
    """Outline every nucleus in the colour of its class.

    Args:
        image (np.ndarray): RGB picture, (H, W, 3) uint8, 0-255.
        inst_map (np.ndarray): (H, W) int, 0 background, positive ids.
        classes (np.ndarray): (N,) int, class ids in ascending order of the N instance
            ids.
        palette (list): One RGB colour, 0-255, per class id.
        scale (int): How many times the drawing is larger than the picture.
            Defaults to 1.

    Returns:
        np.ndarray: RGB drawing, (scale * H, scale * W, 3) uint8, 0-255.

    Raises:
        ValueError: If map and picture differ in size, or map and classes in number.
    """
    if inst_map.shape != image.shape[:2]:
        raise ValueError(
            f'inst_map: shape {inst_map.shape} does not match the picture: '
            f'{image.shape[:2]}'
        )
    boxes = enumerate(ndimage.find_objects(inst_map), start=1)
    boxes = [(inst_id, box) for inst_id, box in boxes if box is not None]
    if len(boxes) != len(classes):
        raise ValueError(
            f'inst_map: {len(boxes)} instances, but classes holds {len(classes)}'
        )
    canvas = enlarge(image, scale)
    for (inst_id, box), class_id in zip(boxes, classes, strict=True):
        mask = (inst_map[box] == inst_id).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        corner = (box[1].start, box[0].start)
        points = [_to_canvas(contour + corner, scale) for contour in contours]
        color = [int(value) for value in palette[class_id]]
        cv2.polylines(
            canvas, points, True, color, THICKNESS_PX, cv2.LINE_AA, SUBPIXEL_BITS
        )
    return canvas


def draw_outlines(image: np.ndarray, outlines: list, labels: np.ndarray,
                  palette: list) -> np.ndarray:
    """Draw outlines of nuclei that are already traced, in the colours of their classes.

    Args:
        image (np.ndarray): RGB picture, (H, W, 3) uint8, 0-255.
        outlines (list): N rings (K, 2) float, x, y px from the picture's corner.
        labels (np.ndarray): (N,) int class ids.
        palette (list): One RGB colour, 0-255, per class id.

    Returns:
        np.ndarray: RGB drawing, (H, W, 3) uint8, 0-255.
    """
    canvas = np.ascontiguousarray(image).copy()
    for ring, label in zip(outlines, labels, strict=True):
        points = np.round((ring - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
        color = [int(value) for value in palette[label]]
        cv2.polylines(
            canvas, [points], True, color, THICKNESS_PX, cv2.LINE_AA, SUBPIXEL_BITS
        )
    return canvas


def _to_canvas(contour: np.ndarray, scale: int) -> np.ndarray:
    """Pixel centres of the picture as points of the drawing, in 1/16 px."""
    points = (contour + 0.5) * scale - 0.5
    return np.round(points * 2**SUBPIXEL_BITS).astype(np.int32)


def draw_panels(panels: list, legend: list) -> np.ndarray:
    """Drawings side by side, a title over each and one legend below.

    Args:
        panels (list): (title, drawing) pairs; drawings are RGB, (H, W, 3) uint8,
            0-255, and of equal height.
        legend (list): (text, RGB colour 0-255) pairs.

    Returns:
        np.ndarray: RGB picture, uint8, 0-255.
    """
    height = panels[0][1].shape[0]
    font = ImageFont.load_default(size=max(14, height // 40))
    gap = font.size // 2
    titled = [_put_title(title, drawing, font) for title, drawing in panels]
    rows = [np.full((len(titled[0]), gap, 3), BACKGROUND_COLOR, np.uint8)]
    for panel in titled:
        rows += [panel, rows[0]]
    picture = np.concatenate(rows, axis=1)
    return np.concatenate([picture, _draw_legend(legend, picture.shape[1], font)])


def _put_title(title: str, drawing: np.ndarray, font) -> np.ndarray:
    """The drawing with a strip above it that holds the title."""
    strip = Image.new('RGB', (drawing.shape[1], 2 * font.size), BACKGROUND_COLOR)
    draw = ImageDraw.Draw(strip)
    draw.text((0, font.size), title, TEXT_COLOR, font, anchor='lm')
    return np.concatenate([np.asarray(strip), drawing])


def _draw_legend(legend: list, width: int, font) -> np.ndarray:
    """A strip ``width`` px wide: swatches with texts, in as many lines as needed."""
    line, swatch = 2 * font.size, font.size
    places, x, y = [], font.size // 2, 0
    for text, _ in legend:
        step = int(2 * swatch + font.getlength(text) + font.size)
        if x > font.size // 2 and x + step > width:
            x, y = font.size // 2, y + line
        places.append((x, y))
        x += step
    strip = Image.new('RGB', (width, y + line), BACKGROUND_COLOR)
    draw = ImageDraw.Draw(strip)
    for (text, color), (x, y) in zip(legend, places, strict=True):
        top = y + (line - swatch) // 2
        box = (x, top, x + swatch, top + swatch)
        draw.rectangle(box, fill=tuple(color), outline=TEXT_COLOR)
        middle = (x + 1.5 * swatch, y + line // 2)
        draw.text(middle, text, TEXT_COLOR, font, anchor='lm')
    return np.asarray(strip)
