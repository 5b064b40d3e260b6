# Copyright (c) CellVTA-MMSeg contributors.
"""Whether picture and labels belong together, and whether pictures are the same."""
import hashlib

import numpy as np

MIN_NUCLEI = 5
# Optical density of the values 0-255, a little above zero light.
DENSITY = -np.log10((np.arange(256) + 1) / 256)


def compare_density(image: np.ndarray, nuclei: np.ndarray) -> tuple[float, float]:
    """Mean optical density of nuclei and of what is around them.

    Args:
        image (np.ndarray): Picture, uint8 (H, W, 3).
        nuclei (np.ndarray): Where nuclei are, bool (H, W).

    Returns:
        tuple[float, float]: Inside and outside; NaN where there is no pixel.
    """
    means = []
    for mask in (nuclei, ~nuclei):
        values = np.bincount(image[mask].ravel(), minlength=256)
        total = values.sum()
        means.append(float(values @ DENSITY / total) if total else float('nan'))
    return means[0], means[1]


def check_alignment(image: np.ndarray, inst_map: np.ndarray,
                    num_nuclei: int) -> list[tuple[str, str]]:
    """Nuclei are stained: where they are not darker, the labels lie elsewhere.

    Args:
        image (np.ndarray): Picture, uint8 (H, W, 3).
        inst_map (np.ndarray): Instance ids, integer (H, W), 0 background.
        num_nuclei (int): Number of nuclei; fewer than 5 say nothing.

    Returns:
        list[tuple[str, str]]: At most one finding, as of ``check_labels_of_image``.
    """
    if num_nuclei < MIN_NUCLEI:
        return []
    inside, outside = compare_density(image, inst_map != 0)
    if not inside <= outside:
        return []
    return [('misaligned', f'{num_nuclei} nuclei, mean optical density {inside:.3f} '
                           f'inside, {outside:.3f} outside')]


def digest(image: np.ndarray) -> bytes:
    """Equal for pictures of equal pixels, whatever file they are in."""
    content = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16)
    content.update(repr(image.shape).encode())
    return content.digest()
