# Copyright (c) CellVTA-MMSeg contributors.
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.table import Table

from ..datasets.cell_dataset import CellDataset
from ..datasets.labels import read_labels
from ..datasets.transforms import LoadCellImage
from ..evaluation.functional import instance_classes
from .health_checks import check_alignment, check_labels_of_image, digest

# What is looked for, and what a line of the table calls it.
UNREADABLE = dict(unreadable='pictures or labels that cannot be read')
FAULTS = dict(
    duplicate_id='one id on nuclei far apart',
    split_instance='nuclei in two pieces',
    small_instance='nuclei below 10 px',
    negative_id='negative instance ids',
    unknown_class='class ids outside the list',
    no_class='nuclei with pixels without class',
    no_instance='pictures with class pixels outside nuclei',
    two_classes='nuclei of two classes',
    different_size='pictures of another size than their labels',
    misaligned='pictures whose nuclei are not darker than the rest',
    repeated_image='pictures that are twice in a part',
    leaked_image='pictures that are in another part too')
INFORMATION = dict(
    empty='pictures without nuclei',
    unused_class='classes of which a part has no nucleus',
    same_part='parts that are another part')
CHECKS = UNREADABLE | FAULTS | INFORMATION


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
        check (str): Name of the check, a key of ``CHECKS``.
        part (str): 'train', 'val' or 'test'.
        sample (str): Name of the picture; '' for what concerns the whole part.
        detail (str): Where in the picture it is, and what was found.
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
        findings (list[Finding]): Everything, in the order in which it was found.
        pictures (Counter): Pictures of each part.
        nuclei (dict[str, Counter]): Nuclei of each class id in each part.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.pictures: Counter = Counter()
        self.nuclei: dict[str, Counter] = {}
        self._seen: dict[bytes, list[tuple[str, str]]] = {}

    def add(self, part: str, sample: str, found: Sequence[tuple[str, str]]) -> None:
        """Take up what was found in a picture: pairs of check and detail."""
        self.findings += [Finding(check, part, sample, detail)
                          for check, detail in found]

    def add_picture(self, part: str, sample: str, digest: bytes) -> None:
        """Compare a picture with all before it, by a digest of its pixels."""
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
        """Look at whole parts, when all of their pictures are in.

        Args:
            classes (Sequence[str]): Class names, background first.
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
        """0 nothing is wrong, 1 there are findings, 2 files cannot be read."""
        found = self.counts.keys()
        if found & UNREADABLE.keys():
            return 2
        return 1 if found & FAULTS.keys() else 0

    def table(self) -> Table:
        """A row for each check: how often, and where first."""
        table = Table('check', 'count', 'first', title=self._title())
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
        """Everything that was found, as JSON values."""
        return dict(
            parts={part: dict(pictures=count, nuclei=self.nuclei[part].total())
                   for part, count in self.pictures.items()},
            counts={check: self.counts[check] for check in CHECKS},
            findings=[asdict(finding) for finding in self.findings])

    def _title(self) -> str:
        return '; '.join(
            f'{part}: {count} pictures, {self.nuclei[part].total()} nuclei'
            for part, count in self.pictures.items())


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
