# Copyright (c) CellVTA-MMSeg contributors.
"""Draw the cells that tools/infer.py has found over their image or slide.

A look without QuPath, and figures that can be made again by the same command.

Example:
    python tools/analysis_tools/draw_cells.py slide.svs cells/slide.geojson look.png \\
        --window 12000 8000 512 512 --width 1024
"""
import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np

MAX_WIDTH = 2000  # px of a drawing whose width is not given


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', type=Path, help='image or slide')
    parser.add_argument('geojson', type=Path, help='its .geojson or .geojson.gz')
    parser.add_argument('out', type=Path, help='drawing to write: .png or .jpg')
    parser.add_argument('--window', type=int, nargs=4, metavar=('X', 'Y', 'W', 'H'),
                        help='left, top, width and height, px of the image '
                        '(default: all of it)')
    parser.add_argument('--origin', choices=('slide', 'bounds'), default='slide',
                        help='from where the cells are counted, as tools/infer.py was '
                        'told (default: slide)')
    parser.add_argument('--width', type=int,
                        help='width of the drawing, px (default: that of the window, '
                        f'at most {MAX_WIDTH})')
    args = parser.parse_args()
    if args.window and min(args.window[2:]) < 1:
        parser.error(f'--window {args.window}: expected width and height of 1 or more')
    if args.width is not None and args.width < 1:
        parser.error(f'--width {args.width}: expected 1 or more')
    for path in (args.image, args.geojson):
        if not path.is_file():
            parser.error(f'{path}: no such file')
    if not args.out.parent.is_dir():
        parser.error(f'{args.out}: there is no folder {args.out.parent}')
    return args


def read_cells(path: Path) -> tuple[list[np.ndarray], list[str], dict]:
    """Reads the cells of a file of `tools/infer.py`.

    Returns:
        Outlines, closed rings (K, 2) of (x, y) px; the class name of each; and the
        colour by class name, RGB 0-255.

    Raises:
        ValueError: When the file holds something else.
    """
    outlines, names, colors = [], [], {}
    try:
        with (gzip.open if path.suffix == '.gz' else open)(path, 'rb') as file:
            features = json.load(file)['features']
        for feature in features:
            kind = feature['properties']['classification']
            outlines.append(np.array(feature['geometry']['coordinates'][0], float))
            names.append(kind['name'])
            colors[kind['name']] = np.array(kind['color'], np.uint8).tolist()
        if not all(ring.shape == (len(ring), 2) and np.isfinite(ring).all()
                   for ring in outlines):
            raise ValueError('a point of an outline is not two numbers')
        if not all(np.shape(color) == (3, ) for color in colors.values()):
            raise ValueError('a colour is not three numbers')
    except Exception as error:  # json, gzip and numpy raise many types
        reason = str(error).partition('\n')[0][:100]
        raise ValueError(
            f'{path}: no cells with outline, class, colour ({type(error).__name__}: '
            f'{reason}); expected a GeoJSON file of tools/infer.py') from error
    return outlines, names, colors


def draw(args: argparse.Namespace) -> np.ndarray:
    """Returns the drawing with title and legend, (H, W, 3) uint8 RGB."""
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.slides import SlideCanvas, open_slide
    from mmseg_cellvta.visualization.drawing import draw_outlines, draw_panels

    outlines, names, colors = read_cells(args.geojson)
    reader = open_slide(args.image, 1.0, force_mpp=True)  # lengths are px
    if args.origin == 'bounds' and reader.bounds is not None:
        outlines = [ring + reader.bounds[:2] for ring in outlines]
    x, y, width, height = args.window or (0, 0, *reader.shape[::-1])
    canvas = SlideCanvas(reader, width / (args.width or min(width, MAX_WIDTH)))
    corners = np.array([(x, y), (x + width, y + height)]) / canvas.scale
    (left, top), (right, bottom) = np.rint(corners).astype(int).tolist()
    image = canvas.read(left, top, right - left, bottom - top)
    seen = [row for row, ring in enumerate(outlines)
            if (ring.max(axis=0) > (x, y)).all()
            and (ring.min(axis=0) < (x + width, y + height)).all()]
    classes = sorted(colors)
    labels = np.array([classes.index(names[row]) for row in seen], int)
    drawing = draw_outlines(
        image, [outlines[row] / canvas.scale - (left, top) for row in seen], labels,
        [colors[name] for name in classes])
    counts = np.bincount(labels, minlength=len(classes))
    legend = [(f'{name} {count:,}', colors[name])
              for name, count in zip(classes, counts, strict=True)]
    title = (f'{args.image.name}: {len(seen):,} cells in {width} x {height} px '
             f'at x {x}, y {y}')
    return draw_panels([(title, drawing)], legend)


def main() -> None:
    args = parse_args()
    import cv2

    from mmseg_cellvta.utils.images import write_image

    try:
        write_image(args.out, draw(args))
    except (ValueError, OSError, cv2.error) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
