# Copyright (c) CellVTA-MMSeg contributors.
"""The user's own images and labels to a folder that `CellFolderDataset` reads."""
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.progress import Progress

from ..utils.files import PendingFolder
from ..utils.names import check_image_names
from ..utils.pixel_size import mpp_problem
from .class_list import make_palette
from .label_files import CLASS_MAP_SUFFIXES, LABEL_SUFFIXES, LabelReader
from .splits import GroupSplit
from .summary import DatasetSummary
from .writers import PARTS, FolderWriter, LabelledImage, Tiling

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff')
CLASS_MAP_END = '_class'


def convert_custom(source: str | Path, out: str | Path, classes: Sequence[str],
                   mpp: float, tiling: Tiling, split: GroupSplit | None,
                   progress: Progress) -> tuple[DatasetSummary, list[str]]:
    """Converts images with labels of any format that is read.

    Args:
        source: Holds `images` and `labels`, or `train`, `val` and `test` with such
            folders.
        out: Folder to make; it appears when everything is in it.
        classes: Class names, background first.
        mpp: Size of a pixel, µm.
        tiling: How to cut the images.
        split: How to divide the images; None where they are divided already.
        progress: Gets a bar.

    Returns:
        What was converted, and remarks for the user.

    Raises:
        OSError: When a file is missing, `out` exists or the disk has no room.
        ValueError: When a file is damaged, a label is wrong or `split` does not fit.
    """
    if problem := mpp_problem(mpp):
        raise ValueError(f'--mpp {mpp:g}: {problem}')
    images = assign_parts(find_images(Path(source)), split)
    folder = PendingFolder(out, dict(
        converter='custom', source=str(Path(source).resolve()), classes=list(classes),
        mpp=mpp, tile=tiling.size, overlap=tiling.overlap,
        split=asdict(split) if split else None))
    writer = FolderWriter(folder, images, tiling, classes)
    reader = LabelReader(classes)
    writer.write(reader, progress)
    summary = writer.finish(make_palette(len(classes)), mpp)
    return summary, [*reader.remarks, *summary.size_remarks(mpp)]


def is_divided(source: str | Path) -> bool:
    """Returns True if a folder holds a folder `train`, `val` or `test`."""
    return any(_subfolder(Path(source), part) for part in PARTS)


def assign_parts(images: Sequence[LabelledImage],
                 split: GroupSplit | None) -> list[LabelledImage]:
    """Returns the images with their parts: those of `split`, or of their folders.

    Raises:
        ValueError: When there are both folders and shares, or neither.
    """
    divided = any(image.part for image in images)
    if divided and split is not None:
        raise ValueError('the images are divided into folders train, val and test; '
                         'give no --val-share, --test-share or --group')
    if divided:
        return list(images)
    if split is None:
        raise ValueError('the images are not divided into train, val and test; give '
                         'the shares')
    parts = split.assign([image.name for image in images])
    return [replace(image, part=part)
            for image, part in zip(images, parts, strict=True)]


def find_images(source: Path) -> list[LabelledImage]:
    """Lists images with their labels; names that parts share get the part in front.

    Raises:
        FileNotFoundError: When a folder, or the image or label of a pair is missing.
        ValueError: When an image or a label is there twice.
    """
    parts = [part for part in PARTS if _subfolder(source, part)]
    if not parts:
        return _find_pairs(source, '')
    if _subfolder(source, 'images'):
        raise ValueError(f'{source}: holds images and also {" and ".join(parts)}; '
                         'leave one or the other there')
    images = [image for part in parts
              for image in _find_pairs(_subfolder(source, part), part)]
    if len({image.name for image in images}) < len(images):
        images = [replace(image, name=f'{image.part}_{image.name}')
                  for image in images]
    return images


def _find_pairs(folder: Path, part: str) -> list[LabelledImage]:
    images, labels = (_subfolder(folder, name) for name in ('images', 'labels'))
    if images is None or labels is None:
        missing = 'images' if images is None else 'labels'
        raise FileNotFoundError(
            f'{folder}: no folder {missing} in it; expected images and labels, or '
            'train, val and test with such folders')
    img_paths = _by_stem(images, IMAGE_SUFFIXES)
    label_paths = _by_stem(labels, LABEL_SUFFIXES)
    if not img_paths:
        raise FileNotFoundError(
            f'{images}: no image in it ({", ".join(IMAGE_SUFFIXES)})')
    class_paths = {
        stem: label_paths.pop(f'{stem}{CLASS_MAP_END}')
        for stem in img_paths
        if f'{stem}{CLASS_MAP_END}' in label_paths.keys() - img_paths.keys()
    }
    for stem, path in class_paths.items():
        if path.suffix.lower() not in CLASS_MAP_SUFFIXES:
            raise ValueError(f'{path}: a map of the classes of {stem} is expected as '
                             f'{", ".join(CLASS_MAP_SUFFIXES)}')
    _check_pairs(img_paths, label_paths, labels, 'label', LABEL_SUFFIXES)
    _check_pairs(label_paths, img_paths, images, 'image', IMAGE_SUFFIXES)
    check_image_names(img_paths, str(images))
    return [LabelledImage(stem, path, label_paths[stem], class_paths.get(stem), part)
            for stem, path in img_paths.items()]


def _subfolder(folder: Path, name: str) -> Path | None:
    """Finds a folder by its name, in small or capital letters."""
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder')
    found = sorted(path for path in folder.iterdir()
                   if path.name.lower() == name and path.is_dir())
    return found[0] if found else None


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and any(inner.suffix.lower() in suffixes
                                 for inner in path.iterdir()):
            raise ValueError(f'{path}: folders in {folder.name} are not read; move the '
                             f'files in it to {folder}, under names of their own')
        if path.suffix.lower() not in suffixes or path.name.startswith('.'):
            continue
        if path.stem in found:
            raise ValueError(f'{folder}: {found[path.stem].name} and {path.name}: '
                             f'which one is {path.stem}? Leave one of them there')
        found[path.stem] = path
    return found


def _check_pairs(paths: dict[str, Path], others: dict[str, Path], folder: Path,
                 what: str, suffixes: Sequence[str]) -> None:
    alone = [stem for stem in paths if stem not in others]
    if alone:
        unread = sorted(path.name for path in folder.iterdir()
                        if path.stem == alone[0])
        raise FileNotFoundError(
            f'{paths[alone[0]]}: no {what} {alone[0]}.* in {folder}'
            + (f' ({len(alone)} such files)' if len(alone) > 1 else '')
            + (f'; {unread[0]} is there, but only {", ".join(suffixes)} are read'
               if unread else ''))
