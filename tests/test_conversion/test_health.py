# Copyright (c) CellVTA-MMSeg contributors.
import json
from collections import Counter

from rich.console import Console

from mmseg_cellvta.conversion.health import CHECKS, FAULTS, INFORMATION, HealthReport


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


def test_equal_pictures_are_told_apart_by_part():
    report = HealthReport()
    for part, name, content in (
            ('train', 'a', b'1'), ('train', 'b', b'2'), ('train', 'c', b'1'),
            ('val', 'd', b'2'), ('test', 'e', b'1'), ('test', 'f', b'1')):
        report.add_picture(part, name, content)
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
    report.pictures['train'], report.nuclei['train'] = 2, Counter({1: 3, 2: 1})
    report.add('train', 'a', [('no_class', 'instance 3: 4 px')] * 2)
    content = json.loads(json.dumps(report.to_json()))
    assert content['parts'] == dict(train=dict(pictures=2, nuclei=4))
    assert content['counts'] == {**dict.fromkeys(CHECKS, 0), 'no_class': 2}
    assert content['findings'] == 2 * [dict(
        check='no_class', part='train', sample='a', detail='instance 3: 4 px')]
