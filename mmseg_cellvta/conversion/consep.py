# Copyright (c) CellVTA-MMSeg contributors.
"""CoNSeP's original files to a folder that `CoNSePDataset` reads."""
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ..datasets.consep_dataset import (
    MERGED_CLASSES,
    CoNSePDataset,
    has_original_classes,
)
from ..datasets.labels import (
    IMAGE_DIR,
    LABEL_DIR,
    check_labels,
    count_nuclei,
)
from ..datasets.mat_labels import load_mat, read_mat_labels
from ..utils.files import PendingFolder
from .summary import DatasetSummary
from .writers import FolderWriter, LabelledImage, Tiling

NUM_ORIGINAL = len(MERGED_CLASSES)


def convert_consep(source: str | Path, out: str | Path, tiling: Tiling,
                   progress: Progress) -> tuple[DatasetSummary, list[str]]:
    """Converts the parts that are there, and merges 7 classes to 4.

    Args:
        source: Holds `Train`, `Test` or both, or is one of them.
        out: Folder to make; it appears when everything is in it.
        tiling: How to cut the images.
        progress: Gets a bar.

    Returns:
        What was converted, and remarks for the user.

    Raises:
        OSError: When a file is missing, `out` exists or the disk has no room.
        ValueError: When a file is damaged or a label is wrong.
    """
    images = find_consep(Path(source))
    original = has_original_classes(image.label_path for image in images)
    classes, palette = (CoNSePDataset.METAINFO[key] for key in ('classes', 'palette'))
    folder = PendingFolder(out, dict(
        converter='consep', source=str(Path(source).resolve()), original=original,
        tile=tiling.size, overlap=tiling.overlap))
    writer = FolderWriter(folder, images, tiling, classes)
    num_classes = NUM_ORIGINAL if original else len(classes)
    writer.write(partial(read_consep_labels, num_classes=num_classes), progress)
    summary = writer.finish(palette, CoNSePDataset.DEFAULT_MPP)
    remarks = ['the 7 original classes were merged to 4'] if original else []
    return summary, remarks


def find_consep(source: Path) -> list[LabelledImage]:
    """Lists the images of the parts that are there.

    Raises:
        FileNotFoundError: When there is no part, a part has no image, or an image no
            label.
    """
    parts = {name: source / name for name in ('Train', 'Test')
             if (source / name).is_dir()}
    if not parts and (source / IMAGE_DIR).is_dir():
        parts = {'Test' if source.resolve().name.lower() == 'test' else 'Train': source}
    if not parts:
        raise FileNotFoundError(
            f'{source}: holds neither Train nor Test nor {IMAGE_DIR}; expected the '
            'unpacked archive of CoNSeP')
    images = []
    for part, folder in parts.items():
        paths = list((folder / IMAGE_DIR).glob('*.png'))
        if not paths:
            raise FileNotFoundError(f'{folder / IMAGE_DIR}: no .png file in it')
        images += [
            LabelledImage(path.stem, path, folder / LABEL_DIR / f'{path.stem}.mat',
                          part=part.lower())
            for path in paths
        ]
        names = {path.stem for path in paths}
        for path in sorted((folder / LABEL_DIR).glob('*.mat')):
            if path.stem not in names:
                raise FileNotFoundError(f'{path}: no image {path.stem}.png in '
                                        f'{folder / IMAGE_DIR}')
    for image in images:
        if not image.label_path.is_file():
            raise FileNotFoundError(f'{image.label_path}: no such label file')
    return images


def read_consep_labels(image: LabelledImage, shape: tuple[int, int],
                       num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads a label file and checks that its maps hold what `inst_type` counts.

    Args:
        image: The image and its files.
        shape: Not used.
        num_classes: Classes of the files, background included.

    Returns:
        Instance map, int32 (H, W), and map of merged classes, uint8 (H, W).

    Raises:
        ValueError: When the file is damaged, a label is wrong or the counts differ.
    """
    path = str(image.label_path)
    inst_map, class_map = read_mat_labels(path)
    check_labels(inst_map, class_map, num_classes, path)
    types = load_mat(path, ('inst_type', )).get('inst_type')
    if types is not None:
        listed = np.bincount(types.astype(np.int64).ravel(), minlength=num_classes)[1:]
        counts = count_nuclei(inst_map, class_map, num_classes)
        if listed.tolist() != counts.tolist():
            raise ValueError(
                f'{path}: the maps hold {counts.tolist()} nuclei of the classes 1 to '
                f'{num_classes - 1}, inst_type lists {listed.tolist()}; they must be '
                'equal')
    if num_classes == NUM_ORIGINAL:
        class_map = np.asarray(MERGED_CLASSES, np.uint8)[class_map]
    return inst_map, class_map
