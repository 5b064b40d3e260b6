# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from rich.console import Console

from mmseg_cellvta.conversion.summary import DatasetSummary


def labels_of(counts, shape=(20, 30)):
    """Labels (H, W, 2) with so many nuclei of one pixel of each class."""
    labels = np.zeros((*shape, 2), np.int32)
    classes = np.repeat(np.arange(1, len(counts) + 1), counts)
    labels[0, :len(classes)] = np.stack([np.arange(1, len(classes) + 1), classes], -1)
    return labels


def printed(summary):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary.table())
    return capture.get()


def row_of(text, name):
    line, = (line for line in text.splitlines() if f' {name} ' in line)
    return [cell.strip() for cell in line.replace('┃', '│').split('│')[2:-1]]


def test_counts_and_shares_stand_by_part():
    summary = DatasetSummary(['round', 'long'])
    for part, counts in [('train', [3, 1]), ('test', [0, 0]), ('train', [0, 0]),
                         ('train', [0, 4])]:
        summary.add(part, labels_of(counts))
    text = printed(summary)
    assert 'every image 30 x 20 px' in text
    assert row_of(text, 'images') == ['3', '1']
    assert row_of(text, 'without nuclei, %') == ['33.3', '100.0']
    assert row_of(text, 'round') == ['3 (37.5 %)', '0 (0.0 %)']
    assert row_of(text, 'long') == ['5 (62.5 %)', '0 (0.0 %)']
    assert row_of(text, 'nuclei') == ['8', '0']


@pytest.mark.parametrize(('widths', 'title'), [
    ([30, 40, 40], '2 sizes, most often 40 x 20 px (2 images)'), ([], 'no images')])
def test_the_most_frequent_size_is_named(widths, title):
    summary = DatasetSummary(['a'])
    for width in widths:
        summary.add('all', labels_of([1], (20, width)))
    assert title in ' '.join(printed(summary).split())


def test_brackets_in_a_name_are_printed():
    summary = DatasetSummary(['[red] cell', 'b'])
    summary.add('all', labels_of([2, 1]))
    assert row_of(printed(summary), '[red] cell') == ['2 (66.7 %)']


@pytest.mark.parametrize(('mpp', 'remarked'), [(0.5, False), (0.1, True), (8, True)])
def test_the_median_nucleus_tells_an_impossible_resolution(mpp, remarked):
    summary = DatasetSummary(['a'])
    assert summary.size_remarks(mpp) == []
    labels = np.zeros((20, 20, 2), np.int32)
    labels[:10, :10], labels[12:14, 12:14], labels[16:, :18] = (1, 1), (9, 1), (4, 1)
    summary.add('all', labels)  # of 100, 4 and 72 px
    assert bool(summary.size_remarks(mpp)) == remarked
