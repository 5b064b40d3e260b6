# Copyright (c) CellVTA-MMSeg contributors.
"""PanNuke's original files to patches that `PanNukeCellDataset` reads."""
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ..datasets.labels import PATCH_LABELS
from ..datasets.pannuke_dataset import FOLDS, PanNukeCellDataset
from ..utils.files import PendingFolder, describe_files, open_npy, read_item
from .summary import DatasetSummary
from .writers import PatchWriter

CLASSES = PanNukeCellDataset.METAINFO['classes'][1:]  # in the order of the channels
FOLD_NAME = re.compile(r'fold[ _-]?(\d+)', re.IGNORECASE)
FILE_NAMES = ('images.npy', 'masks.npy', 'types.npy')


@dataclass(frozen=True)
class Fold:
    """A fold as PanNuke's authors distribute it.

    Attributes:
        number: 1, 2 or 3.
        images: File of the images, (N, H, W, 3) RGB, 0-255, of any dtype.
        masks: File of instance ids of five classes, and background, (N, H, W, 6).
        types: File of the tissues' names, (N,).
    """
    number: int
    images: Path
    masks: Path
    types: Path

    @property
    def name(self) -> str:
        """Name of the fold in the converted data set."""
        return f'fold{self.number}'

    def read_patch(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns image, uint8 (H, W, 3), instance map and class map, (H, W)."""
        image = to_uint8(read_item(self.images, index), f'{self.images}[{index}]')
        maps = merge_channels(read_item(self.masks, index), f'{self.masks}[{index}]')
        return image, *maps


def convert_pannuke(source: str | Path, out: str | Path,
                    progress: Progress) -> tuple[DatasetSummary, list[str]]:
    """Converts the folds that are in a folder.

    Args:
        source: Folder of the folds (see `find_folds`).
        out: Folder to make; it appears when everything is in it.
        progress: Gets a bar for each fold.

    Returns:
        What was converted, and remarks for the user.

    Raises:
        OSError: When a file is missing, `out` exists or the disk has no room.
        ValueError: When a file is damaged, files disagree or a value is wrong.
    """
    folds = find_folds(Path(source))
    shapes_and_rows = [check_fold(fold) for fold in folds]
    files = [path for fold in folds for path in (fold.images, fold.masks, fold.types)]
    folder = PendingFolder(out, dict(converter='pannuke') | describe_files(files))
    summary = DatasetSummary(CLASSES)
    for fold, (shape, rows) in zip(folds, shapes_and_rows, strict=True):
        writer = PatchWriter(
            folder, fold.name, rows, shape, len(CLASSES) + 1, fold.masks)
        writer.write(fold.read_patch, progress)
        summary.add_patches(
            folder.part / fold.name / PATCH_LABELS, [fold.name] * len(rows))
    folder.publish()
    missing = set(FOLDS) - {fold.number for fold in folds}
    return summary, [f'fold {number} is not in {source}, so there is no fold{number}'
                     for number in sorted(missing)]


def find_folds(source: Path) -> list[Fold]:
    """Finds the files of each fold, in order of their numbers.

    Args:
        source: Holds a folder per fold (`fold1`, `Fold 1`, `fold_1`), with
            `images.npy`, `masks.npy` and `types.npy` in it or up to two folders
            deeper, as the official archives have them.

    Raises:
        FileNotFoundError: When no fold is found, or a fold lacks a file.
        ValueError: When a fold or one of its files is there twice.
    """
    if not source.is_dir():
        raise FileNotFoundError(f'{source}: no such folder')
    folders = {}
    for folder in sorted(source.iterdir()):
        match = FOLD_NAME.fullmatch(folder.name)
        if match is None or not folder.is_dir():
            continue
        number = int(match[1])
        if number not in FOLDS:
            raise ValueError(f'{folder}: PanNuke has the folds 1, 2 and 3; rename the '
                             'folder as its authors number it')
        if number in folders:
            raise ValueError(f'{folder} and {folders[number]} are both fold {number}; '
                             'leave one of them there')
        folders[number] = folder
    if not folders:
        raise FileNotFoundError(
            f'{source}: no folder fold1, fold2 or fold3 in it; unzip the archives of '
            'PanNuke there (Fold 1, Fold 2, Fold 3)')
    return [Fold(number, *(_find_file(folder, name) for name in FILE_NAMES))
            for number, folder in sorted(folders.items())]


def _find_file(folder: Path, name: str) -> Path:
    found = [path for level in ('', '*/', '*/*/') for path in folder.glob(level + name)]
    if not found:
        raise FileNotFoundError(f'{folder / name}: no such file, nor in a folder there')
    if len(found) > 1:
        raise ValueError(f'{found[0]} and {found[1]}: which {name} of {folder} is it? '
                         'Leave one of them there')
    return found[0]


def check_fold(fold: Fold) -> tuple[tuple[int, int], list[dict]]:
    """Checks that the three files agree, without reading the images.

    Returns:
        (height, width) of the patches, px, and their rows of `patch_info.csv`.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file is damaged or of another layout.
    """
    images, masks, types = map(
        open_npy, map(str, (fold.images, fold.masks, fold.types)))
    for path, array, channels in ((fold.images, images, 3), (fold.masks, masks, 6)):
        if array.dtype.kind not in 'fiu':
            raise ValueError(f'{path}: dtype {array.dtype}; expected numbers')
        if array.ndim != 4 or array.shape[-1] != channels:
            raise ValueError(
                f'{path}: shape {array.shape}; expected (N, H, W, {channels})')
    if not len(images):
        raise ValueError(f'{fold.images}: holds no image')
    if masks.shape[:3] != images.shape[:3]:
        raise ValueError(f'{fold.masks}: shape {masks.shape} does not match '
                         f'{fold.images.name}; expected {(*images.shape[:3], 6)}')
    if types.dtype.kind != 'U' or types.shape != (len(images), ):
        raise ValueError(f'{fold.types}: {types.dtype} {types.shape}; expected '
                         f'{len(images)} strings, the tissue of each image')
    if types.itemsize and types.view(np.uint32).max() > sys.maxunicode:
        raise ValueError(f'{fold.types}: damaged, it has characters that Unicode has '
                         'not; unpack it again')
    for index in np.flatnonzero(types == ''):
        raise ValueError(f'{fold.types}[{index}]: no tissue')
    rows = [dict(patch_info=f'{fold.name}_{index:04d}', tissue=str(tissue))
            for index, tissue in enumerate(types)]
    return images.shape[1:3], rows


def to_uint8(image: np.ndarray, name: str) -> np.ndarray:
    """Returns an image of any dtype as uint8, rounded.

    Raises:
        ValueError: When a value is outside 0-255, or all are fractions up to 1.
    """
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= 255):  # so that NaN is refused too
        raise ValueError(f'{name}: values from {low} to {high}; expected 0 to 255')
    rounded = np.rint(image)
    if high <= 1 and (rounded != image).any():
        raise ValueError(f'{name}: values from {low} to {high}, with fractions; '
                         'expected 0 to 255: multiply them by 255')
    return rounded.astype(np.uint8)


def merge_channels(mask: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Turns a map of instance ids per class into one map of ids and one of classes.

    Where nuclei overlap, the later channel wins in both maps. Ids are numbered from 1
    without gaps, by channel and by their number in it; a nucleus that is covered wholly
    gets none.

    Args:
        mask: (H, W, 6) whole numbers of any dtype; the last channel, the background,
            is not used.
        name: Name of this mask in errors.

    Returns:
        Instance map, int32 (H, W), and class map, uint8 (H, W).

    Raises:
        ValueError: When a value is negative or no whole number.
    """
    channels = mask[..., :len(CLASSES)]
    with np.errstate(invalid='ignore'):  # of NaN, which differs from every number
        ids = channels.astype(np.int64)
    wrong = (ids != channels) | (ids < 0)
    if wrong.any():
        row, column, channel = np.argwhere(wrong)[0]
        raise ValueError(
            f'{name}: {channels[row, column, channel]} at row {row}, column {column}, '
            f'channel {channel}; expected instance ids, whole numbers from 0')
    keys = np.zeros(mask.shape[:2], np.int64)
    class_map = np.zeros(mask.shape[:2], np.uint8)
    step = ids.max(initial=0) + 1
    for class_id in range(1, len(CLASSES) + 1):
        channel = ids[..., class_id - 1]
        inside = channel > 0
        keys[inside] = class_id * step + channel[inside]
        class_map[inside] = class_id
    inst_map = np.zeros(mask.shape[:2], np.int32)
    inside = class_map > 0
    inst_map[inside] = np.unique(keys[inside], return_inverse=True)[1] + 1
    return inst_map, class_map
