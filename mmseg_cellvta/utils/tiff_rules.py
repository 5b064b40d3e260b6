# Copyright (c) CellVTA-MMSeg contributors.
"""What a TIFF file holds and which of its images counts, whoever decodes it.

which image
    The largest one in colour, else the largest grey one; never a reduced one or one
    that is called label, macro, overview or thumbnail. Smaller ones are left out, and a
    remark says so; another one of similar size is refused, for nobody knows which is
    meant.
planes
    One; stacks, time series and channels in pages of their own are refused.
bits
    8 per channel, unsigned (palettes 1-8); others are refused, never scaled.
channels
    RGB, YCbCr, CMYK, grey or palette, interleaved or in planes.
alpha
    White shines through where ExtraSamples says that a channel is alpha, or is missing;
    a channel of unspecified meaning is left out.
orientation
    Applied. Slides cannot be turned, hence such a file is read as an image.
µm/px
    OME-XML, else ImageJ's unit, else the resolution tags.

Files of scanners (SVS, NDPI, SCN, BIF, Philips) have layouts of their own, which the
slide libraries know: of these only the bits are asked for.
"""
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from xml.etree import ElementTree

import numpy as np
import tifffile

from .files import UnreadableError

MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
SCANNERS = ('svs', 'ndpi', 'scn', 'bif', 'philips')  # as tifffile calls their formats
NO_SLIDE = re.compile(  # as words: a scan may show macrophages
    r'(?<![a-z])(label|macro|overview|thumb(nail)?|barcode|preview)(?![a-z])',
    re.IGNORECASE)
SIMILAR_AREA = 0.3  # share of the largest image's px; half the size has 0.25
COLOURS = ('RGB', 'YCBCR', 'SEPARATED')  # PhotometricInterpretation
COLOUR_CHANNELS = dict(
    MINISWHITE=1, MINISBLACK=1, PALETTE=1, RGB=3, YCBCR=3, SEPARATED=4)
OME_XML = '<OME'
JPEG = 7  # Compression
MAX_TILE_PX = 1 << 28  # scanners write 256 to 4,096 px a side
CENTIMETRE = 3  # ResolutionUnit
UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 1e4, 4: 1e3, 5: 1.0}  # 1: no unit
# By unit as OME-XML and ImageJ write it; with both letters mu, µ and Greek μ.
UM_PER_UNIT = {
    'pm': 1e-6, 'Å': 1e-4, 'nm': 1e-3, '\u00b5m': 1.0, '\u03bcm': 1.0, 'um': 1.0,
    'mm': 1e3, 'cm': 1e4, 'dm': 1e5, 'm': 1e6, 'thou': 25.4, 'li': 25400 / 12,
    'in': 25400.0, 'inch': 25400.0, 'inches': 25400.0,
    '\\u00B5m': 1.0}  # six characters, as ImageJ writes it
MICRON = re.compile(r'(micron|micromet(er|re))s?', re.IGNORECASE)


class UnclearError(ValueError):
    """A file with several images, of which nobody knows which is meant."""


@dataclass(frozen=True)
class TiffImage:
    """The image of a TIFF file that counts.

    Attributes:
        name: File name, for messages.
        shape: (height, width) px as stored, before it is turned.
        series: Its number among the series of `tifffile.TiffFile`.
        page: Its number among the pages; None where it is a page below a page.
        bits: Bits per channel; 0 when they are no unsigned integers.
        channels: Stored values per px.
        colours: PhotometricInterpretation, by name.
        alpha: What the channel behind the colours is: 'associated' or 'unassociated'
            alpha; None when there is none.
        orientation: 1-8, as in EXIF.
        is_tiled: True when it is stored in tiles.
        is_jpeg: True when its tiles are JPEG.
        is_ome: True for OME-TIFF.
        is_scanner: True for a file that a scanner wrote.
        mpp: Width and height of a stored pixel, µm; None if not stated.
        objective: Magnification that the file states; None if it does not.
        remark: What was left out, a sentence; None if nothing.
    """

    name: str
    shape: tuple[int, int]
    series: int
    page: int | None
    bits: int
    channels: int
    colours: str
    alpha: str | None
    orientation: int
    is_tiled: bool
    is_jpeg: bool
    is_ome: bool
    is_scanner: bool
    mpp: tuple[float, float] | None
    objective: float | None
    remark: str | None

    def check_pixels(self) -> None:
        """Refuses what is not 8 bits per channel of a known colour.

        Raises:
            ValueError: Such as for 12 of 16 bits, which would be almost black.
        """
        found = None
        if self.bits != 8 and not (self.colours == 'PALETTE' and 0 < self.bits < 8):
            found = f'{self.bits} bits per channel' if self.bits else (
                'values with sign or fraction')
        elif self.colours not in COLOUR_CHANNELS:
            found = f'colours {self.colours}'
        elif self.channels - COLOUR_CHANNELS[self.colours] not in (0, 1):
            found = f'{self.channels} channels'
        if found:
            raise ValueError(f'{self.name}: {found}; expected RGB or grey with 8 bits '
                             'per channel; export it so')


def is_tiff(path: str | PathLike) -> bool:
    """Returns True when a file begins as TIFF files do."""
    with open(path, 'rb') as file:
        return file.read(4) in MAGIC


def find_tiff_image(path: str | PathLike, name: str | None = None,
                    by_scanner: bool = False) -> TiffImage:
    """Finds the image of a TIFF file that counts, by the rules above.

    Args:
        path: The file.
        name: What messages call it; its path by default.
        by_scanner: True for a file that a scanner wrote, in a layout of its own.

    Raises:
        UnreadableError: When the file is damaged.
        UnclearError: When it cannot be known which image is meant.
    """
    name = str(path) if name is None else name
    try:
        tiff = tifffile.TiffFile(path)
    except Exception as error:  # tifffile raises many types for a damaged file
        raise _damaged(name, error) from error
    with tiff:
        try:
            return _find(tiff, name, by_scanner)
        except (UnreadableError, UnclearError):
            raise
        except Exception as error:  # of tags that nobody writes
            raise _damaged(name, error) from error


def _find(tiff: tifffile.TiffFile, name: str, by_scanner: bool) -> TiffImage:
    series = list(tiff.series)
    if not series:
        raise _damaged(name, 'it holds no image')
    for one in series:
        for level in one.levels:
            size = level.keyframe.tilewidth, level.keyframe.tilelength
            if math.prod(size) > MAX_TILE_PX:  # OpenSlide would end the process
                raise _damaged(name, f'a tile of {size[0]} x {size[1]} px')
    chosen, remark = series[0], None
    is_scanner = by_scanner or any(getattr(tiff, f'is_{kind}') for kind in SCANNERS)
    if not is_scanner:
        chosen, remark = _choose(tiff, series, name)
    return _describe(tiff, series, chosen, name, is_scanner, remark)


def _damaged(name: str, reason: object) -> UnreadableError:
    return UnreadableError(f'{name}: not a readable image ({reason}); copy it again')


def _choose(tiff: tifffile.TiffFile, series: list[tifffile.TiffPageSeries],
            name: str) -> tuple[tifffile.TiffPageSeries, str | None]:
    """Returns the series that counts, and what to say of the others."""
    images = [one for one in series if one.keyframe.parent is tiff
              and not NO_SLIDE.search(one.name) and not one.keyframe.is_reduced]
    images = images or series
    images = [one for one in images if _colours(one) in COLOURS] or images
    images.sort(key=_area, reverse=True)
    chosen = images[0]
    similar = [one for one in images if _area(one) > SIMILAR_AREA * _area(chosen)]
    if len(similar) > 1:
        raise UnclearError(
            f'{name}: {len(similar)} images, {" and ".join(map(_size, similar))}; '
            'expected one; export the one that is meant')
    planes = {axis: size for axis, size in zip(chosen.axes, chosen.shape, strict=True)
              if axis not in 'YXS' and size > 1}
    if math.prod(planes.values()) == chosen.keyframe.samplesperpixel and (
            'S' not in chosen.axes):
        planes = {}  # channels in planes of one page
    if planes:
        found = ', '.join(f'{axis} {size}' for axis, size in planes.items())
        raise UnclearError(
            f'{name}: {math.prod(planes.values())} planes ({found}) of '
            f'{_size(chosen)}; expected one; export the one that is meant')
    remark = None
    if len(images) > 1:
        remark = (f'{name}: {_size(chosen)} are taken, the largest of {len(images)} '
                  'images in the file')
    return chosen, remark


def _describe(tiff: tifffile.TiffFile, series: list[tifffile.TiffPageSeries],
              chosen: tifffile.TiffPageSeries, name: str, is_scanner: bool,
              remark: str | None) -> TiffImage:
    page = chosen.keyframe
    unsigned = page.sampleformat in (1, 4) or page.bitspersample > 8
    description = tiff.pages.first.description or ''
    return TiffImage(
        name=name, shape=(page.imagelength, page.imagewidth),
        series=series.index(chosen), page=None if page.is_subifd else page.index,
        bits=page.bitspersample if unsigned else 0, channels=page.samplesperpixel,
        colours=_colours(chosen), alpha=_alpha(page),
        orientation=_orientation(page),
        is_tiled=page.is_tiled, is_jpeg=page.compression == JPEG,
        is_ome=OME_XML in description, is_scanner=is_scanner,
        mpp=_pixel_size(page, description, series.index(chosen), len(series)),
        objective=_objective(description), remark=remark)


def _colours(series: tifffile.TiffPageSeries) -> str:
    colours = series.keyframe.photometric
    return getattr(colours, 'name', str(colours))


def _area(series: tifffile.TiffPageSeries) -> int:
    return series.keyframe.imagelength * series.keyframe.imagewidth


def _size(series: tifffile.TiffPageSeries) -> str:
    return f'{series.keyframe.imagewidth} x {series.keyframe.imagelength} px'


def _orientation(page: tifffile.TiffPage) -> int:
    orientation = int(page.tags.valueof('Orientation', 1))
    return orientation if 1 <= orientation <= 8 else 1


def _alpha(page: tifffile.TiffPage) -> str | None:
    colours = COLOUR_CHANNELS.get(getattr(page.photometric, 'name', ''), 3)
    if page.samplesperpixel <= colours:
        return None
    kinds = {1: 'associated', 2: 'unassociated'}
    return kinds.get(int(page.extrasamples[0])) if page.extrasamples else (
        'unassociated')


def _pixel_size(page: tifffile.TiffPage, description: str, index: int,
                num_series: int) -> tuple[float, float] | None:
    """Returns width and height of a stored pixel, µm, by what the file states."""
    if OME_XML in description:
        sizes = _ome_size(description, page, index, num_series)
        if sizes is not None:
            return sizes
    try:
        px_per_unit = [Fraction(*page.tags[f'{axis}Resolution'].value) for axis in 'XY']
    except (KeyError, TypeError, ZeroDivisionError):
        return None
    if not all(px_per_unit):
        return None
    unit = int(page.tags.valueof('ResolutionUnit', 2))
    um = UM_PER_RESOLUTION_UNIT.get(unit)
    if description.startswith('ImageJ='):
        named = re.search(r'^unit=(.*)$', description, re.MULTILINE)
        um_named = named and unit_um(named[1].strip())
        # ImageJ's own files state px per named unit, except those of centimetres.
        if named and not (unit == CENTIMETRE and um_named == 1):
            um = um_named
    return um and tuple(um / float(value) for value in px_per_unit)


def unit_um(unit: str) -> float | None:
    """Returns the µm in a unit of OME-XML or ImageJ; None if it is no length.

    Upper and lower case differ: Mm is no mm.
    """
    return 1.0 if MICRON.fullmatch(unit) else UM_PER_UNIT.get(unit)


def _ome_size(xml: str, page: tifffile.TiffPage, index: int,
              num_series: int) -> tuple[float, float] | None:
    images = _ome_tree(xml).findall('.//{*}Pixels')
    if len(images) != num_series:  # some have no pages in this file
        shape = str(page.imagewidth), str(page.imagelength)
        images = [image for image in images
                  if (image.get('SizeX'), image.get('SizeY')) == shape]
        index = 0
    if not images:
        return None
    sizes = []
    for axis in 'XY':
        um = unit_um(images[index].get(f'PhysicalSize{axis}Unit', 'µm'))
        size = _number(images[index].get(f'PhysicalSize{axis}'))
        if size is None or um is None:
            return None
        sizes.append(size * um)
    return tuple(sizes)


def _objective(description: str) -> float | None:
    """Returns the magnification that a description states, as OME-XML or Aperio do."""
    if OME_XML in description:
        objective = _ome_tree(description).find('.//{*}Objective')
        text = None if objective is None else objective.get('NominalMagnification')
    else:
        found = re.search(r'\bAppMag\s*=\s*([\d.]+)', description)
        text = found and found[1]
    return _number(text)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _ome_tree(xml: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(xml.strip().encode())
    except ElementTree.ParseError:  # a reader may still take the pixels
        return ElementTree.Element('OME')


def on_white(pixels: np.ndarray, image: TiffImage) -> np.ndarray:
    """Returns decoded values of a TIFF image as RGB.

    Args:
        pixels: uint8 (H, W, C) as stored.
        image: What they are.

    Returns:
        uint8 (H, W, 3), RGB, 0-255; white shines through where there is alpha.
    """
    colours = COLOUR_CHANNELS[image.colours]
    rgb = pixels[..., :colours]
    if image.colours == 'MINISWHITE':
        rgb = 255 - rgb
    if image.alpha is not None:
        opaque = pixels[..., colours:colours + 1] / np.float32(255)
        rgb = rgb * (1 if image.alpha == 'associated' else opaque) + 255 * (1 - opaque)
        rgb = np.rint(np.minimum(rgb, 255)).astype(np.uint8)
    return np.repeat(rgb, 3, axis=2) if colours == 1 else rgb
