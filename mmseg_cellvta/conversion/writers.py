# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..datasets.labels import (
    IMAGE_DIR,
    LABEL_DIR,
    check_labels,
    count_nuclei,
    natural_key,
    write_info,
)
from ..utils.files import PendingFolder
from ..utils.images import LabelledPicture, read_picture, read_size
from .summary import DatasetSummary
from .tiling import Tiling


class FolderWriter:
    """Writes pictures and labels as ``CellFolderDataset`` reads them.

    One picture is in memory at a time. Those that are written already, and whose files
    did not change since, are passed over.

    Args:
        folder (PendingFolder): The data set under construction.
        pictures (Sequence[LabelledPicture]): What to write, with unique names.
        tiling (Tiling): How to cut them.
        classes (Sequence[str]): Class names, background first.

    Raises:
        FileNotFoundError: If a picture is missing.
        ValueError: If a picture is damaged or smaller than a tile.
    """

    def __init__(self, folder: PendingFolder, pictures: Sequence[LabelledPicture],
                 tiling: Tiling, classes: Sequence[str]) -> None:
        self.root = folder.part
        self.pictures = sorted(pictures, key=lambda item: natural_key(item.name))
        self.windows = {
            picture.name: tiling.windows(picture.name, read_size(picture.img_path))
            for picture in self.pictures
        }
        self.classes = list(classes)

    def write(self, read_labels: Callable,
              advance: Callable[[], None] = lambda: None) -> None:
        """Write every picture that is not written yet.

        Args:
            read_labels: Called with a picture and its (height, width) px; returns
                instance map and class map, integer (H, W).
            advance: Called after each picture.

        Raises:
            ValueError: If a label is wrong (see ``check_labels``) or of another size
                than its picture.
        """
        for name in (IMAGE_DIR, LABEL_DIR):
            (self.root / name).mkdir(exist_ok=True)
        for picture in self.pictures:
            if not self._is_written(picture):
                self._put(picture, read_labels)
            advance()

    def finish(self, palette: Sequence[Sequence[int]], mpp: float) -> DatasetSummary:
        """Write what describes the data set, and count what is in it."""
        names: dict[str, list[str]] = {}
        for part in ('train', 'val', 'test'):
            listed = [name for picture in self.pictures if picture.part == part
                      for name in self.windows[picture.name]]
            if listed:
                names[part] = listed
                text = '\n'.join(listed) + '\n'
                (self.root / f'{part}.txt').write_text(text, encoding='utf-8')
        self._remove_others({name for listed in names.values() for name in listed})
        write_info(self.root, self.classes, palette, mpp)
        summary = DatasetSummary(self.classes[1:])
        for part, listed in names.items():
            for name in listed:
                labels = np.load(self._label_path(name))
                counts = count_nuclei(
                    labels[..., 0], labels[..., 1], len(self.classes))
                summary.add(part, labels.shape[:2], counts)
        return summary

    def _label_path(self, name: str) -> Path:
        return self.root / LABEL_DIR / f'{name}.npy'

    def _is_written(self, picture: LabelledPicture) -> bool:
        paths = [self._label_path(name) for name in self.windows[picture.name]]
        if not all(path.is_file() for path in paths):
            return False
        # ctime moves when another file takes the place, even one with an old mtime.
        changed = max(os.stat(path).st_ctime_ns for path in picture.files)
        return changed < min(os.stat(path).st_mtime_ns for path in paths)

    def _put(self, picture: LabelledPicture, read_labels: Callable) -> None:
        image = read_picture(picture.img_path)
        inst_map, class_map = read_labels(picture, image.shape[:2])
        for path, array in ((picture.label_path, inst_map),
                            (picture.class_path or picture.label_path, class_map)):
            if array.shape != image.shape[:2]:
                raise ValueError(
                    f'{path}: {array.shape} (rows, columns) px, its picture '
                    f'{picture.img_path.name} {image.shape[:2]}; they must be equal')
        check_labels(inst_map, class_map, len(self.classes), str(picture.label_path))
        for name, window in self.windows[picture.name].items():
            self._write_image(name, image[window])
            self._write_labels(name, inst_map[window], class_map[window])

    def _write_image(self, name: str, image: np.ndarray) -> None:
        path = self.root / IMAGE_DIR / f'{name}.png'
        if not cv2.imwrite(str(path), image[..., ::-1]):
            raise OSError(f'{path}: cannot be written; is there room on the disk?')

    def _write_labels(self, name: str, inst_map: np.ndarray,
                      class_map: np.ndarray) -> None:
        """Last and at once: a label file says that picture and labels are complete."""
        path = self._label_path(name)
        inst_map = number_from_one(inst_map)
        labels = np.stack([inst_map, np.where(inst_map > 0, class_map, 0)], axis=-1)
        pending = path.with_suffix('.new')
        with open(pending, 'wb') as file:
            np.save(file, labels.astype(np.int32))
        os.replace(pending, path)

    def _remove_others(self, names: set[str]) -> None:
        """Delete what an earlier, interrupted run wrote of pictures now gone."""
        for folder, suffix in ((IMAGE_DIR, '.png'), (LABEL_DIR, '.npy')):
            expected = {f'{name}{suffix}' for name in names}
            for path in (self.root / folder).iterdir():
                if path.name not in expected:
                    path.unlink()


def number_from_one(inst_map: np.ndarray) -> np.ndarray:
    """Ids 1..N without gaps, in the order of the old ones; 0 stays background."""
    present = np.zeros(int(inst_map.max(initial=0)) + 1, bool)
    present[inst_map] = True
    present[0] = False
    return np.cumsum(present, dtype=np.int32)[inst_map]
