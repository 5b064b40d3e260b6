# Copyright (c) CellVTA-MMSeg contributors.
import json
from collections import Counter

import cv2
import numpy as np
from rich.console import Console
from scipy.io import savemat

from mmseg_cellvta.conversion.health import (
    CHECKS,
    FAULTS,
    INFORMATION,
    HealthReport,
    inspect_parts,
)
from mmseg_cellvta.datasets import CoNICDataset, CoNSePDataset


def rows(report):
    columns = report.table().columns
    return list(zip(*(list(column.cells) for column in columns), strict=True))


def test_information_and_faults_and_unreadable_files_have_their_exit_codes():
    report = HealthReport()
    assert report.exit_code == 0
    for check in INFORMATION:
        report.add('train', 'a', [(check, '')])
    assert report.exit_code == 0
    report.add('train', 'a', [('small_instance', '')])
    assert report.exit_code == 1
    report.add('train', 'a', [('unreadable', '')])
    assert report.exit_code == 2


def test_the_table_has_a_row_per_check_with_count_and_first_place():
    report = HealthReport()
    report.add('train', 'a', [('two_classes', 'instance 3: classes [1, 2]')])
    report.add('val', 'b', [('two_classes', 'instance 4: classes [1, 3]')])
    found = rows(report)
    assert len(found) == len(CHECKS)
    assert [row for row in found if row[1] != '0'] == [
        (FAULTS['two_classes'], '2', r'train: a: instance 3: classes \[1, 2]')]
    console = Console(width=200)
    with console.capture() as capture:
        console.print(report.table())
    assert 'train: a: instance 3: classes [1, 2]' in capture.get()


def test_equal_images_are_told_apart_by_part():
    report = HealthReport()
    for part, name, content in (
            ('train', 'a', b'1'), ('train', 'b', b'2'), ('train', 'c', b'1'),
            ('val', 'd', b'2'), ('test', 'e', b'1'), ('test', 'f', b'1')):
        report.add_image(part, name, content)
    assert [(str(found), found.check) for found in report.findings] == [
        ('train: c: equal to a', 'repeated_image'),
        ('val: d: equal to b in train', 'leaked_image'),
        ('test: e: equal to a in train', 'leaked_image'),
        ('test: f: equal to e', 'repeated_image')]


def test_a_class_without_nuclei_is_named_for_each_part():
    report = HealthReport()
    report.nuclei = dict(train=Counter({1: 4}), val=Counter({1: 1, 2: 2}))
    report.finish(('background', 'round', 'long'))
    assert [str(found) for found in report.findings] == ['train: long']
    assert report.exit_code == 0


def test_json_holds_every_finding_and_every_count():
    report = HealthReport()
    report.images['train'], report.nuclei['train'] = 2, Counter({1: 3, 2: 1})
    report.add('train', 'a', [('no_class', 'instance 3: 4 px')] * 2)
    content = json.loads(json.dumps(report.to_json()))
    assert content['parts'] == dict(train=dict(pictures=2, nuclei=4))
    assert content['counts'] == {**dict.fromkeys(CHECKS, 0), 'no_class': 2}
    assert content['findings'] == 2 * [dict(
        check='no_class', part='train', sample='a', detail='instance 3: 4 px')]


def test_merged_classes_are_checked_as_the_file_has_them(tmp_path):
    """CoNSeP's 7 original classes are right, though the data set lists 4."""
    for folder in ('Images', 'Labels'):
        (tmp_path / folder).mkdir()
    inst_map, type_map = np.zeros((2, 40, 60))
    for index, class_id in enumerate((3, 4, 7, 8)):
        inst_map[5:13, 10 * index:10 * index + 8] = index + 1
        type_map[5:13, 10 * index:10 * index + 8] = class_id
    cv2.imwrite(str(tmp_path / 'Images/a.png'), np.zeros((40, 60, 3), np.uint8))
    savemat(tmp_path / 'Labels/a.mat', dict(inst_map=inst_map, type_map=type_map))
    dataset = CoNSePDataset(
        data_root=str(tmp_path), pipeline=[], validate_labels=False)
    report = inspect_parts(dict(train=[dataset]))
    assert [str(found) for found in report.findings] == [
        'train: a: class 8: instance 4', 'train: other', 'train: inflammatory']
    assert report.nuclei['train'] == {3: 2, 4: 1, -1: 1}


def test_patches_of_an_array_are_read_by_index(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / 'images.npy',
            rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    labels = np.zeros((3, 32, 32, 2), np.uint16)
    labels[:, 2:8, 4:12] = 1, 2
    labels[2, 2:4, 4:6, 1] = 1
    np.save(tmp_path / 'labels.npy', labels)
    (tmp_path / 'patch_info.csv').write_text('patch_info\na-0\na-1\nb-0\n')
    dataset = CoNICDataset(data_root=str(tmp_path), pipeline=[], validate_labels=False)
    report = inspect_parts(dict(test=[dataset]))
    assert str(report.findings[0]) == 'test: b-0: instance 1: classes [1, 2]'
    assert report.counts['two_classes'] == 1 and report.images == dict(test=3)
