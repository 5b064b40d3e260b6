# Copyright (c) CellVTA-MMSeg contributors.
"""Plain drawing of nuclei on images: numpy, OpenCV and Pillow only."""
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ..evaluation.functional import instance_classes

Color = Sequence[int]  # RGB, 0-255

# Points of cv2.polylines in 1/16 px, so that enlarged outlines are smooth.
SUBPIXEL_BITS = 4
THICKNESS_PX = 2  # of an outline
BAR_PX = 4  # thickness of a scale bar and its distance from the border
TEXT_COLOR = (34, 34, 34)
PAPER_COLOR = (255, 255, 255)
# Smaller images are enlarged, so that an outline does not hide its nucleus.
MIN_SIDE_PX = 512
# The sample sheet.
LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR = (33, 102, 172), (247, 247, 247), (178, 24, 43)
HV_BACKGROUND_COLOR = (190, 190, 190)
CLASS_BACKGROUND_GREY = 232  # unlike every class and the paper around it
OUTLINE_COLOR = (40, 40, 40)
HV_LEGEND = [('-1, left or upper side', LOW_COLOR), ('0, centre', MIDDLE_COLOR),
             ('+1, right or lower side', HIGH_COLOR),
             ('no nucleus', HV_BACKGROUND_COLOR)]


def panel_scale(image: np.ndarray) -> int:
    """Returns how many times as large as an image its panel is."""
    return max(1, -(-MIN_SIDE_PX // min(image.shape[:2])))


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns a copy of an image, (H, W, 3) uint8, `scale` times as large."""
    size = (image.shape[1] * scale, image.shape[0] * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def draw_outlines(image: np.ndarray, outlines: Sequence[np.ndarray],
                  labels: Sequence[int], palette: Sequence[Color],
                  scale: int = 1) -> np.ndarray:
    """Outlines nuclei in the colours of their classes.

    Args:
        image: RGB image, (H, W, 3) uint8, 0-255; it is not drawn on.
        outlines: N rings (K, 2), (x, y) px from the image's top left corner.
        labels: N class ids.
        palette: One colour per class id, RGB 0-255.
        scale: Px of the drawing per px of the image.

    Returns:
        RGB drawing, (scale * H, scale * W, 3) uint8, 0-255.
    """
    drawing = enlarge(image, scale)
    for ring, label in zip(outlines, labels, strict=True):
        points = np.round((ring * scale - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
        color = [int(value) for value in palette[label]]
        cv2.polylines(drawing, [points], True, color, THICKNESS_PX, cv2.LINE_AA,
                      SUBPIXEL_BITS)
    return drawing


def draw_instance_map(image: np.ndarray, inst_map: np.ndarray, classes: Sequence[int],
                      palette: Sequence[Color], scale: int = 1) -> np.ndarray:
    """Outlines every nucleus of a map, through the centres of its border pixels.

    Args:
        image: RGB image, (H, W, 3) uint8, 0-255; it is not drawn on.
        inst_map: (H, W) int, 0 background, positive ids.
        classes: N class ids in ascending order of the N instance ids.
        palette: One colour per class id, RGB 0-255.
        scale: Px of the drawing per px of the image.

    Returns:
        RGB drawing, (scale * H, scale * W, 3) uint8, 0-255.

    Raises:
        ValueError: When map and image differ in size, or map and classes in number.
    """
    if inst_map.shape != image.shape[:2]:
        raise ValueError(f'inst_map: shape {inst_map.shape} does not match the image: '
                         f'{image.shape[:2]}')
    boxes = enumerate(ndimage.find_objects(inst_map), start=1)
    boxes = [(inst_id, box) for inst_id, box in boxes if box is not None]
    if len(boxes) != len(classes):
        raise ValueError(
            f'inst_map: {len(boxes)} instances, but classes holds {len(classes)}')
    outlines, labels = [], []
    for (inst_id, box), class_id in zip(boxes, classes, strict=True):
        mask = (inst_map[box] == inst_id).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        corner = (box[1].start, box[0].start)
        outlines += [contour.reshape(-1, 2) + corner + 0.5 for contour in contours]
        labels += [class_id] * len(contours)
    return draw_outlines(image, outlines, labels, palette, scale)


def draw_scale_bar(image: np.ndarray, length_px: float) -> np.ndarray:
    """Returns a copy of an image with a black bar on white in its lower left corner."""
    drawing = image.copy()
    left, low = BAR_PX, len(image) - BAR_PX
    right, top = left + round(length_px), low - BAR_PX
    drawing[top - 1:low + 1, left - 1:right + 1] = PAPER_COLOR
    drawing[top:low, left:right] = 0
    return drawing


def draw_panels(panels: Sequence[tuple[str, np.ndarray]],
                legend: Sequence[tuple[str, Color]]) -> np.ndarray:
    """Puts drawings side by side, a title over each and one legend below.

    Args:
        panels: (title, drawing) pairs; drawings are RGB, (H, W, 3) uint8, 0-255, and of
            equal height.
        legend: (text, colour) pairs; colours are RGB, 0-255.

    Returns:
        RGB image, uint8, 0-255.
    """
    height = panels[0][1].shape[0]
    font = ImageFont.load_default(size=max(14, height // 40))
    gap = font.size // 2
    titled = [_put_title(title, drawing, font) for title, drawing in panels]
    rows = [np.full((len(titled[0]), gap, 3), PAPER_COLOR, np.uint8)]
    for panel in titled:
        rows += [panel, rows[0]]
    sheet = np.concatenate(rows, axis=1)
    return np.concatenate([sheet, _draw_legend(legend, sheet.shape[1], font)])


def _put_title(title: str, drawing: np.ndarray,
               font: ImageFont.FreeTypeFont) -> np.ndarray:
    """Puts a strip with the title above the drawing."""
    strip = Image.new('RGB', (drawing.shape[1], 2 * font.size), PAPER_COLOR)
    draw = ImageDraw.Draw(strip)
    draw.text((0, font.size), title, TEXT_COLOR, font, anchor='lm')
    return np.concatenate([np.asarray(strip), drawing])


def _draw_legend(legend: Sequence[tuple[str, Color]], width: int,
                 font: ImageFont.FreeTypeFont) -> np.ndarray:
    """Draws swatches with texts in as many lines as a strip `width` px wide needs."""
    line, swatch = 2 * font.size, font.size
    places, x, y = [], font.size // 2, 0
    for text, _ in legend:
        step = int(2 * swatch + font.getlength(text) + font.size)
        if x > font.size // 2 and x + step > width:
            x, y = font.size // 2, y + line
        places.append((x, y))
        x += step
    strip = Image.new('RGB', (width, y + line), PAPER_COLOR)
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
        hv_map: np.ndarray, classes: Sequence[str], palette: Sequence[Color]
) -> np.ndarray:
    """Draws outlines, both distance maps and classes side by side.

    Args:
        title: Line above everything.
        image: RGB image, (H, W, 3) uint8, 0-255.
        inst_map: (H, W) integer, 0 background, positive ids.
        class_map: (H, W) integer class ids.
        hv_map: (2, H, W) in [-1, 1], horizontal first.
        classes: Class names, background first.
        palette: One colour per class, RGB 0-255.

    Returns:
        RGB image, uint8, 0-255.
    """
    scale = panel_scale(image)
    inst_map = inst_map.astype(np.int32)
    inst_classes, _ = instance_classes(inst_map, class_map)
    inside = inst_map > 0
    colored = np.where(inside[..., None], np.asarray(palette, np.uint8)[class_map],
                       np.uint8(CLASS_BACKGROUND_GREY))

    def outline(drawing):
        return draw_instance_map(drawing, inst_map, np.zeros_like(inst_classes),
                                 [OUTLINE_COLOR], scale)

    panels = [
        (f'Image: {len(inst_classes)} nuclei',
         draw_instance_map(image, inst_map, inst_classes, palette, scale)),
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
    """Colours a map: -1 blue, 0 white, 1 red, and grey where no nucleus is.

    Args:
        channel: (H, W) in [-1, 1].
        inside: (H, W) bool, True on nuclei.

    Returns:
        RGB image, (H, W, 3) uint8, 0-255.
    """
    stops = np.array([LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR])
    colors = np.stack(
        [np.interp(channel, [-1, 0, 1], values) for values in stops.T], axis=-1)
    return np.where(inside[..., None], np.rint(colors).astype(np.uint8),
                    np.uint8(HV_BACKGROUND_COLOR))
