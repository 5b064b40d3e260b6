# Copyright (c) CellVTA-MMSeg contributors.
"""Plain drawing of nuclei on pictures: numpy, OpenCV and Pillow only."""
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ..evaluation.functional import instance_classes

# Points of cv2.polylines in 1/16 px, so that enlarged contours are smooth.
SUBPIXEL_BITS = 4
THICKNESS_PX = 2
TEXT_COLOR = (34, 34, 34)
BACKGROUND_COLOR = (255, 255, 255)
MIN_SIDE_PX = 512  # of a panel; smaller pictures are enlarged
LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR = (33, 102, 172), (247, 247, 247), (178, 24, 43)
GROUND_COLOR = (190, 190, 190)
CLASS_GROUND = 232  # grey, unlike every class and the paper around it
OUTLINE_COLOR = (40, 40, 40)
HV_LEGEND = [('-1, left or upper side', LOW_COLOR), ('0, centre', MIDDLE_COLOR),
             ('+1, right or lower side', HIGH_COLOR), ('no nucleus', GROUND_COLOR)]


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


def draw_sample_sheet(
        title: str, image: np.ndarray, inst_map: np.ndarray, class_map: np.ndarray,
        hv_map: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Draw outlines, both distance maps and classes side by side.

    Args:
        title (str): Line above everything.
        image (np.ndarray): RGB picture, (H, W, 3) uint8, 0-255.
        inst_map (np.ndarray): (H, W) integer, 0 background, positive ids.
        class_map (np.ndarray): (H, W) integer class ids.
        hv_map (np.ndarray): (2, H, W) in [-1, 1], horizontal first.
        classes (Sequence[str]): Class names, background first.
        palette (Sequence[Sequence[int]]): One RGB colour, 0-255, per class.

    Returns:
        np.ndarray: RGB picture, uint8, 0-255.
    """
    scale = max(1, -(-MIN_SIDE_PX // min(image.shape[:2])))
    inst_map = inst_map.astype(np.int32)
    inst_classes, _ = instance_classes(inst_map, class_map)
    inside = inst_map > 0
    colored = np.where(inside[..., None], np.asarray(palette, np.uint8)[class_map],
                       np.uint8(CLASS_GROUND))

    def outline(drawing):
        return draw_cells(drawing, inst_map, np.zeros_like(inst_classes),
                          [OUTLINE_COLOR], scale)

    panels = [
        (f'Picture: {len(inst_classes)} nuclei',
         draw_cells(image, inst_map, inst_classes, palette, scale)),
        ('Horizontal map: from left to right',
         outline(color_distances(hv_map[0], inside))),
        ('Vertical map: from top to bottom',
         outline(color_distances(hv_map[1], inside))),
        ('Classes', outline(colored))]
    counts = np.bincount(inst_classes, minlength=len(classes))
    legend = [(f'{name} {counts[class_id]}', palette[class_id])
              for class_id, name in enumerate(classes) if class_id]
    return draw_panels([(title, draw_panels(panels, HV_LEGEND))], legend)


def color_distances(channel: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Blue for -1 over white for 0 to red for 1, and grey where no nucleus is.

    Args:
        channel (np.ndarray): (H, W) in [-1, 1].
        inside (np.ndarray): (H, W) bool, where nuclei are.

    Returns:
        np.ndarray: RGB picture, (H, W, 3) uint8.
    """
    stops = np.array([LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR])
    colors = np.stack(
        [np.interp(channel, [-1, 0, 1], values) for values in stops.T], axis=-1)
    return np.where(inside[..., None], np.rint(colors).astype(np.uint8),
                    np.uint8(GROUND_COLOR))
