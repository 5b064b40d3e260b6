# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from rich.console import Console

from mmseg_cellvta.conversion.summary import DatasetSummary


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
    summary.add('train', (20, 30), [3, 1])
    summary.add('test', (20, 30), [0, 0])
    summary.add('train', (20, 30), [0, 0])
    summary.add('train', (20, 30), [0, 4])
    text = printed(summary)
    assert 'every image 30 x 20 px' in text
    assert row_of(text, 'images') == ['3', '1']
    assert row_of(text, 'without nuclei, %') == ['33.3', '100.0']
    assert row_of(text, 'round') == ['3 (37.5 %)', '0 (0.0 %)']
    assert row_of(text, 'long') == ['5 (62.5 %)', '0 (0.0 %)']
    assert row_of(text, 'nuclei') == ['8', '0']


def test_the_most_frequent_size_is_named():
    summary = DatasetSummary(['a'])
    for width in (30, 40, 40):
        summary.add('all', (20, width), [1])
    title = ' '.join(printed(summary).split())
    assert '2 sizes, most often 40 x 20 px (2 images)' in title


def test_nothing_at_all_is_no_error():
    assert 'no images' in printed(DatasetSummary(['a']))


def test_written_patches_are_counted(tmp_path):
    labels = np.zeros((3, 8, 8, 2), np.uint16)
    labels[0, :2, :2] = 5, 1
    labels[0, 4:6, :2] = 6, 2
    labels[2, 4:6, :2] = 1, 2
    np.save(tmp_path / 'labels.npy', labels)
    summary = DatasetSummary(['a', 'b'])
    summary.add_patches(tmp_path / 'labels.npy', ['x', 'x', 'y'])
    assert summary.images == dict(x=2, y=1) and summary.empty == dict(x=1, y=0)
    assert {part: counts.tolist() for part, counts in summary.nuclei.items()} == dict(
        x=[1, 1], y=[0, 1])
