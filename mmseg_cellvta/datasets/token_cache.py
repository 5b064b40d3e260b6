# Copyright (c) CellVTA-MMSeg contributors.
import os
from pathlib import Path

import numpy as np

from ..utils.files import complete_file, settings_digest


class TokenCache:
    """Tokens and classes of labelled nuclei on disk, a ``.npz`` file per picture.

    A picture is found again as long as its entry in the data set, its file and its
    label file stay as they are; what made the tokens is the business of the folder's
    name.

    Args:
        folder (str | os.PathLike): Where the files are; made when the first is saved.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def path(self, entry: dict) -> Path:
        """File of a picture.

        Args:
            entry (dict): Its entry in the data list, with ``sample_name``,
                ``img_path`` and ``label_path``.
        """
        files = [os.stat(entry[key]) for key in ('img_path', 'label_path')]
        state = [(file.st_size, file.st_mtime_ns) for file in files]
        digest = settings_digest([entry, state], digits=12)
        return self.folder / f'{entry["sample_name"]}-{digest}.npz'

    def __contains__(self, entry: dict) -> bool:
        return self.path(entry).is_file()

    def save(self, entry: dict, tokens: np.ndarray, labels: np.ndarray) -> None:
        """Keep a picture's tokens, (N, D) float32, and classes, (N,) int64 1..C-1."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with complete_file(self.path(entry)) as part:
            np.savez(part, tokens=tokens, labels=labels)

    def load(self, entry: dict) -> tuple[np.ndarray, np.ndarray]:
        """Read what `save` wrote."""
        with np.load(self.path(entry), allow_pickle=False) as file:
            return file['tokens'], file['labels']
