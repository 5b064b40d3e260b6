# Copyright (c) CellVTA-MMSeg contributors.
"""Make the images of docs/qupath.md: a drawn slide, its cells and its report.

Needs Chromium, to photograph the report.

Example, after `make demo`:
    python docs/images/make_images.py work_dirs/demo/iter_900.pth
"""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import tifffile
from scipy.special import expit

from mmseg_cellvta.conversion.drawn_conic import SIDE, draw_patch, draw_staining

ROOT = Path(__file__).resolve().parents[2]
SLIDE_SIDE = 2048  # px
MPP = 0.5  # µm/px of drawn patches
CORES = 5  # per row and column
GLASS_MARGIN = 60  # px around all cores
PYRAMID_LEVELS = 3
ENLARGED_PART = 468, 468, 276, 276  # x, y, width, height px
SCREEN = 1000, 2085  # width, height px
JPEG_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, 85]


def draw_slide() -> np.ndarray:
    """Draws patches as round cores on glass, (SLIDE_SIDE, SLIDE_SIDE, 3) uint8 RGB."""
    rng = np.random.default_rng(3)
    staining = draw_staining(rng)
    slide = staining.white + rng.normal(0, staining.noise, (SLIDE_SIDE, SLIDE_SIDE, 3))
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    tissue = expit((SIDE / 2 - 4 - np.hypot(x, y)) / 1.2)[..., None]
    starts = np.linspace(GLASS_MARGIN, SLIDE_SIDE - SIDE - GLASS_MARGIN, CORES)
    for top in starts.round().astype(int):
        for left in starts.round().astype(int):
            core = slide[top:top + SIDE, left:left + SIDE]
            core += tissue * (draw_patch(rng, staining)[0] - core)
    return np.clip(np.rint(slide), 0, 255).astype(np.uint8)


def write_slide(path: Path, slide: np.ndarray) -> None:
    """Writes a pyramid as slide scanners do, each level half as large as the last."""
    with tifffile.TiffWriter(path) as tiff:
        for level in range(PYRAMID_LEVELS):
            tiff.write(
                cv2.resize(slide, None, fx=0.5**level, fy=0.5**level,
                           interpolation=cv2.INTER_AREA),
                tile=(SIDE, SIDE), photometric='rgb', compression='deflate',
                metadata=None, subfiletype=int(level > 0),
                resolution=(1e4 / MPP / 2**level,) * 2, resolutionunit='CENTIMETER')


def photograph(page: Path, out: Path) -> None:
    """Writes what a browser shows of a page as a JPEG file."""
    screenshot = page.with_suffix('.png')
    subprocess.run([
        'chromium', '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
        f'--user-data-dir={page.parent / "browser"}', f'--screenshot={screenshot}',
        '--window-size={},{}'.format(*SCREEN), page.as_uri()], check=True)
    convert_to_jpeg(screenshot, out)


def convert_to_jpeg(image: Path, out: Path) -> None:
    cv2.imwrite(str(out), cv2.imread(str(image)), JPEG_OPTIONS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='of configs/cellvta_tiny_synthetic.py')
    args = parser.parse_args()
    if shutil.which('chromium') is None:
        sys.exit('error: no chromium; install it (apt install chromium)')
    images = ROOT / 'docs/images'
    with TemporaryDirectory() as folder:
        slide, cells = Path(folder, 'drawn.tif'), Path(folder, 'cells')
        write_slide(slide, draw_slide())
        run_tool('infer.py', ROOT / 'configs/cellvta_tiny_synthetic.py',
                 args.checkpoint, slide, '--out', cells, '--report')
        for name, window in (('cells', (0, 0, SLIDE_SIDE, SLIDE_SIDE)),
                             ('cells_enlarged', ENLARGED_PART)):
            drawing = Path(folder, f'{name}.png')
            run_tool('analysis_tools/draw_cells.py', slide, cells / 'drawn.geojson',
                     drawing, '--window', *window, '--width', 800)
            convert_to_jpeg(drawing, images / f'{name}.jpg')
        photograph(cells / 'drawn_report.html', images / 'report.jpg')


def run_tool(script: str, *args) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / 'tools' / script), *map(str, args)], check=True)


if __name__ == '__main__':
    main()
