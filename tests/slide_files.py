# Copyright (c) CellVTA-MMSeg contributors.
"""Generated slides whose content is known, shared by tests."""
import struct
from pathlib import Path

import cv2
import numpy as np
import tifffile

TILE = 128  # px


def color_field(height: int, width: int) -> np.ndarray:
    """Smooth RGB image uint8 (H, W, 3): red grows along x, green along y."""
    y, x = np.mgrid[:height, :width]
    wave = 128 + 100 * np.sin(x / 29) * np.cos(y / 41)
    return np.stack([
        20 + 200 * x / width, 30 + 180 * y / height, wave], -1).round().astype(np.uint8)


def write_slide(path: Path, image: np.ndarray, mpp: float | None = 0.5,
                levels: int = 1, ome: bool = False) -> Path:
    """Write RGB (H, W, 3) as tiled TIFF or OME-TIFF; each level halves the one before.

    OpenSlide takes the plain TIFF, and only tiffslide the OME-TIFF.
    """
    options = dict(tile=(TILE, TILE), photometric='rgb', compression='deflate')
    if mpp and not ome:
        options.update(resolution=(1e4 / mpp,) * 2, resolutionunit='CENTIMETER')
    metadata = dict(axes='YXS') if ome else None
    if mpp and ome:
        metadata.update(PhysicalSizeX=mpp, PhysicalSizeY=mpp)
    with tifffile.TiffWriter(path, ome=ome) as tiff:
        tiff.write(image, metadata=metadata, subifds=levels - 1 if ome else 0,
                   **options)
        for _ in range(1, levels):
            image = halve(image)
            factor = dict(resolution=(1e4 / mpp,) * 2) if mpp and not ome else {}
            tiff.write(image, metadata=None, subfiletype=1, **{**options, **factor})
    return path


def halve(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 px; an odd last row or column is dropped, as scanners do."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return cv2.resize(image[:2 * height, :2 * width], (width, height),
                      interpolation=cv2.INTER_AREA)


def damage_tile(path: Path, x: int, y: int, level: int = 0) -> Path:
    """Zero the bytes of the tile of a `write_slide` file at a px of a level."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.series[0].levels[level].keyframe
        columns = -(-page.imagewidth // page.tilewidth)
        tile = y // page.tilelength * columns + x // page.tilewidth
        offset, size = page.dataoffsets[tile], page.databytecounts[tile]
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(bytes(size))
    return path


def write_dicom(path: Path, series: str, kind: str = '1.2.840.10008.5.1.4.1.1.77.1.6',
                implicit: bool = False) -> Path:
    """Write a header of DICOM alone; by default that of a slide.

    Args:
        path: The file.
        series: UID of the series; digits and dots.
        kind: UID of what the file holds (SOP class).
        implicit: Without kinds of values.
    """
    syntax = '1.2.840.10008.1.2' if implicit else '1.2.840.10008.1.2.1'
    path.write_bytes(
        bytes(128) + b'DICM' + _dicom_uid(0x00020002, kind)
        + _dicom_uid(0x00020010, syntax) + _dicom_uid(0x0020000E, series, implicit))
    return path


def _dicom_uid(tag: int, uid: str, implicit: bool = False) -> bytes:
    value = uid.encode() + bytes(len(uid) % 2)
    length = struct.pack('<I', len(value)) if implicit else (
        b'UI' + struct.pack('<H', len(value)))
    return struct.pack('<HH', tag >> 16, tag & 0xFFFF) + length + value


SCN = """<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">
<collection name="c" uuid="u" sizeX="{slide[0]}" sizeY="{slide[1]}" barcode="">{images}
</collection></scn>"""
SCN_IMAGE = """<image name="{name}" uuid="u{ifd}">
<creationDate>2012-01-01T00:00:00Z</creationDate><device model="SCN400" version="1"/>
<pixels sizeX="{shape[1]}" sizeY="{shape[0]}">
<dimension sizeX="{shape[1]}" sizeY="{shape[0]}" r="0" ifd="{ifd}"/>
<dimension sizeX="{half[1]}" sizeY="{half[0]}" r="1" ifd="{ifd2}"/></pixels>
<view sizeX="{size[0]}" sizeY="{size[1]}" offsetX="{offset[0]}" offsetY="{offset[1]}"
spacingZ="0"/><scanSettings><objectiveSettings><objective>20</objective>
</objectiveSettings><illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings>
</scanSettings></image>"""


def write_scn(path: Path, image: np.ndarray, offset: tuple[int, int],
              margin: int = 64) -> Path:
    """Write RGB (H, W, 3) as Leica SCN of 0.5 µm/px at (x, y) px of a larger slide.

    Both libraries then state bounds: `offset`, and the size of the image.
    """
    def nm(x: int, y: int) -> tuple[int, int]:
        return 500 * x, 500 * y

    (x, y), (height, width) = offset, image.shape[:2]
    slide = nm(x + width + margin, y + height + margin)
    macro = np.full((TILE, TILE * slide[0] // slide[1], 3), 240, np.uint8)
    pages = [macro, halve(macro), image, halve(image)]
    images = [dict(name='macro', ifd=0, ifd2=1, shape=macro.shape, size=slide,
                   half=pages[1].shape, offset=(0, 0)),
              dict(name='scan', ifd=2, ifd2=3, shape=image.shape,
                   size=nm(width, height), half=pages[3].shape, offset=nm(x, y))]
    xml = SCN.format(slide=slide, images=''.join(
        SCN_IMAGE.format(**one) for one in images))
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for pixels, text in zip(pages, (xml, None, None, None), strict=True):
            tiff.write(pixels, description=text, tile=(TILE, TILE), metadata=None,
                       photometric='rgb', compression='deflate',
                       resolution=(20000, 20000), resolutionunit='CENTIMETER')
    return path
