# Copyright (c) CellVTA-MMSeg contributors.
"""Arguments that the converters share, checked before anything slow is imported."""
import argparse
import os


def add_folders(parser: argparse.ArgumentParser, source: str) -> None:
    """Adds SRC, described by `source`, and OUT."""
    parser.add_argument('src', type=existing_folder, help=source)
    parser.add_argument('out', type=new_folder,
                        help='folder to make; interrupted, call again to go on')


def add_tiles(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a converter cuts images."""
    parser.add_argument('--tile', type=pixels, default=0, metavar='PX',
                        help='cut images into tiles of PX x PX (default: whole)')
    parser.add_argument('--overlap', type=pixels, default=0, metavar='PX',
                        help='what neighbouring tiles share (default: 0)')


def existing_folder(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f'{text}: no such folder')
    return text


def new_folder(text: str) -> str:
    if os.path.lexists(text):
        raise argparse.ArgumentTypeError(
            f'{text}: exists already; delete it or choose another folder')
    return text


def pixels(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f'{text} px: expected 0 or more')
    return int(text)


def pixel_size(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(
            f'{text}: expected µm/px above 0, such as 0.25 for 40x')
    return float(text)


def share(text: str) -> float:
    if not 0 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f'{text}: expected a share from 0 to below 1')
    return float(text)
