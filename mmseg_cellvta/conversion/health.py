# Copyright (c) CellVTA-MMSeg contributors.
"""The health report of a data set: every fault of its images, labels and parts."""
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.table import Table

from ..datasets.cell_dataset import CellDataset
from ..datasets.labels import read_labels
from ..evaluation.functional import instance_classes
from ..utils.images import read_image
from .health_checks import check_alignment, check_labels_of_image, digest

# The checks, and what a row of the table calls each.
UNREADABLE = dict(unreadable='images or labels that cannot be read')
FAULTS = dict(
    duplicate_id='one id on nuclei far apart',
    split_instance='nuclei in two pieces',
    small_instance='nuclei below 10 px',
    frame='nuclei as large as the image',
    negative_id='negative instance ids',
    unknown_class='class ids outside the list',
    no_class='nuclei with pixels without class',
    no_instance='images with class pixels outside nuclei',
    two_classes='nuclei of two classes',
    different_size='images of another size than their labels',
    misaligned='images whose nuclei are not darker than the rest',
    repeated_image='images that are twice in a part',
    leaked_image='images that are in another part too')
INFORMATION = dict(
    empty='images without nuclei',
    unused_class='classes without a nucleus in a part',
    same_part='parts that are another part')
CHECKS = UNREADABLE | FAULTS | INFORMATION


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
        check: Name of the check, a key of `CHECKS`.
        part: 'train', 'val' or 'test'.
        sample: Name of the image; '' for what concerns the whole part.
        detail: Where in the image it is, and what was found.
    """
    check: str
    part: str
    sample: str
    detail: str = ''

    def __str__(self) -> str:
        return ': '.join(filter(None, (self.part, self.sample, self.detail)))


class HealthReport:
    """Collects what is wrong with the parts of a data set.

    Attributes:
        findings: Everything, in the order in which it was found.
        images: Number of images of each part.
        nuclei: Number of nuclei of each class id in each part.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.images: Counter = Counter()
        self.nuclei: dict[str, Counter] = {}
        self._seen: dict[bytes, list[tuple[str, str]]] = {}

    def add(self, part: str, sample: str, found: Sequence[tuple[str, str]]) -> None:
        """Adds what was found in an image: pairs of check and detail."""
        self.findings += [Finding(check, part, sample, detail)
                          for check, detail in found]

    def add_image(self, part: str, sample: str, digest: bytes) -> None:
        """Compares an image with all before it, by a digest of its pixels."""
        before = self._seen.setdefault(digest, [])
        parts = [other for other, _ in before]
        if part in parts:
            first = before[parts.index(part)][1]
            self.add(part, sample, [('repeated_image', f'equal to {first}')])
        elif before:
            self.add(part, sample, [
                ('leaked_image', f'equal to {name} in {other}')
                for other, name in before])
        if part not in parts:
            before.append((part, sample))

    def finish(self, classes: Sequence[str]) -> None:
        """Checks whole parts, after all of their images.

        Args:
            classes: Class names, background first.
        """
        for part, nuclei in self.nuclei.items():
            self.add(part, '', [
                ('unused_class', name) for class_id, name in enumerate(classes)
                if class_id and not nuclei[class_id]])

    @property
    def counts(self) -> Counter:
        """Number of findings of each check."""
        return Counter(finding.check for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 nothing is wrong, 1 something is, 2 files cannot be read."""
        found = self.counts.keys()
        if found & UNREADABLE.keys():
            return 2
        return 1 if found & FAULTS.keys() else 0

    def table(self) -> Table:
        """Returns a table with a row for each check: how often, and where first."""
        title = '; '.join(f'{part}: {count} images, {self.nuclei[part].total()} nuclei'
                          for part, count in self.images.items())
        table = Table('check', 'count', 'first', title=title)
        table.columns[1].justify = 'right'
        counts = self.counts
        first: dict[str, Finding] = {}
        for finding in self.findings:
            first.setdefault(finding.check, finding)
        for checks in (UNREADABLE | FAULTS, INFORMATION):
            for check, text in checks.items():
                place = str(first[check]) if check in first else ''
                style = 'bold red' if place and check not in INFORMATION else None
                # A name may hold what rich takes for a style.
                table.add_row(text, str(counts[check]), place.replace('[', r'\['),
                              style=style)
            table.add_section()
        return table

    def to_json(self) -> dict:
        """Returns everything that was found, as JSON values."""
        return dict(
            parts={part: dict(pictures=count, nuclei=self.nuclei[part].total())
                   for part, count in self.images.items()},
            counts={check: self.counts[check] for check in CHECKS},
            findings=[asdict(finding) for finding in self.findings])


def inspect_parts(
        parts: dict[str, list[CellDataset]],
        track: Callable[[list], Iterable] = lambda items: items) -> HealthReport:
    """Checks every image of a data set, one at a time.

    Args:
        parts: Data sets of 'train', 'val' and 'test', built with
            `validate_labels=False`.
        track: Wraps the iteration in a progress bar.
    """
    report = HealthReport()
    images = [(part, dataset, index) for part, datasets in parts.items()
              for dataset in datasets for index in range(len(dataset))]
    for part, dataset, index in track(images):
        report.images[part] += 1
        report.nuclei.setdefault(part, Counter())
        inspect_image(report, part, dataset.get_data_info(index))
    if images:
        report.finish(images[0][1].metainfo['classes'])
    return report


def inspect_image(report: HealthReport, part: str, entry: dict) -> None:
    """Checks one image with its labels.

    Args:
        report: Gets what is found.
        part: Part of the data set that the image is in.
        entry: Its entry in the data list, see `CellDataset.make_entry`.
    """
    name = entry['sample_name']
    try:
        image = read_image(entry['img_path'], entry.get('img_index'))
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
    report.add_image(part, name, digest(image))


def count_classes(inst_map: np.ndarray, class_map: np.ndarray,
                  class_of_id: Sequence[int] | None) -> Counter:
    """Counts the nuclei of each class, in wrong labels too.

    Args:
        inst_map: Instance ids, integer (H, W), 0 background.
        class_map: Class ids of the file, integer (H, W), 0 background.
        class_of_id: Class of each class id of the file, where they differ.

    Returns:
        Nuclei by class id: that of most of a nucleus' pixels, or -1 if there is no such
        class.
    """
    inst_map, class_map = np.maximum(inst_map, 0), np.maximum(class_map, 0)
    ids, _ = instance_classes(inst_map, class_map)
    if class_of_id is None:
        return Counter(ids.tolist())
    return Counter(class_of_id[i] if i < len(class_of_id) else -1 for i in ids.tolist())
