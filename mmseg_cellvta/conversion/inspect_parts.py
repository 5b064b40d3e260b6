# Copyright (c) CellVTA-MMSeg contributors.
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from ..datasets.cell_dataset import CellDataset
from ..datasets.labels import read_labels
from ..datasets.transforms import LoadCellImage
from ..evaluation.functional import instance_classes
from .health import HealthReport
from .health_checks import check_labels_of_image
from .image_checks import check_alignment, digest


def inspect_parts(
        parts: dict[str, list[CellDataset]],
        track: Callable[[list], Iterable] = lambda items: items) -> HealthReport:
    """Look at every picture of a data set, one at a time.

    Args:
        parts (dict[str, list[CellDataset]]): Data sets of 'train', 'val' and 'test',
            built with ``validate_labels=False``.
        track (Callable): Wraps the iteration in a progress bar.

    Returns:
        HealthReport: What was found.
    """
    report = HealthReport()
    pictures = [(part, dataset, index) for part, datasets in parts.items()
                for dataset in datasets for index in range(len(dataset))]
    for part, dataset, index in track(pictures):
        report.pictures[part] += 1
        report.nuclei.setdefault(part, Counter())
        inspect_picture(report, part, dataset.get_data_info(index))
    if pictures:
        report.finish(pictures[0][1].metainfo['classes'])
    return report


def inspect_picture(report: HealthReport, part: str, entry: dict) -> None:
    """Look at one picture.

    Args:
        report (HealthReport): Takes up what is found.
        part (str): Part of the data set that the picture is in.
        entry (dict): Its entry in the data list.
    """
    name = entry['sample_name']
    try:
        image = LoadCellImage().transform(dict(entry))['img']
        inst_map, class_map = read_labels(entry['label_path'], entry.get('label_index'))
        class_of_id = entry['class_of_id']
        num_ids = entry['num_classes'] if class_of_id is None else len(class_of_id)
        found = check_labels_of_image(inst_map, class_map, num_ids)
        nuclei = count_classes(inst_map, class_map, class_of_id)
    except (OSError, ValueError) as error:
        report.add(part, name, [('unreadable', str(error))])
        return
    report.nuclei[part] += nuclei
    if not nuclei:
        found.append(('empty', ''))
    if image.shape[:2] != inst_map.shape:
        found.append(('different_size', f'{image.shape[:2]} (rows, columns) px, '
                                        f'labels {inst_map.shape}'))
    else:
        found += check_alignment(image, inst_map, nuclei.total())
    report.add(part, name, found)
    report.add_picture(part, name, digest(image))


def count_classes(inst_map: np.ndarray, class_map: np.ndarray,
                  class_of_id: list[int] | None) -> Counter:
    """Nuclei of each class, also of labels that are not right.

    A nucleus has the class of most of its pixels, or -1 where there is no such class.
    """
    inst_map, class_map = np.maximum(inst_map, 0), np.maximum(class_map, 0)
    ids, _ = instance_classes(inst_map, class_map)
    if class_of_id is None:
        return Counter(ids.tolist())
    return Counter(class_of_id[i] if i < len(class_of_id) else -1 for i in ids.tolist())
