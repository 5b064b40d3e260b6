# Copyright (c) CellVTA-MMSeg contributors.
import json
import shutil

import numpy as np
import pytest
from run_tool import run_tool
from stained_folder import draw_labels, stain, write_folder, write_image


@pytest.fixture
def run(tmp_path):
    """Run the tool; returns exit code and report."""

    def check(config, *args):
        out = tmp_path / 'report.json'
        code = run_tool(
            'analysis_tools/check_dataset.py', config, '--out', out, *args)
        return code, json.loads(out.read_text()) if out.exists() else None

    return check


@pytest.fixture
def config(tmp_path):
    return write_folder(tmp_path / 'data')


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'data'


def change(root, name, rows, cols, value):
    path = root / f'Labels/{name}.npy'
    labels = np.load(path)
    labels[rows, cols] = value
    np.save(path, labels)


def two_classes(root):
    change(root, 'a_1', slice(8, 10), slice(6, 8), (3, 2))


def unknown_class(root):
    change(root, 'a_1', slice(8, 20), slice(6, 14), (3, 3))


def different_size(root):
    np.save(root / 'Labels/a_1.npy', draw_labels()[:60])


def misaligned(root):
    write_image(root, 'a_1', 255 - stain(draw_labels(), seed=0))


def copy_image(root, name):
    np.save(root / f'Labels/{name}.npy', draw_labels())
    shutil.copy(root / 'Images/a_1.png', root / f'Images/{name}.png')


def repeated_image(root):
    copy_image(root, 'a_2')


def leaked_image(root):
    copy_image(root, 'b_2')


def test_a_right_data_set_ends_with_zero(run, config, capsys):
    code, report = run(config)
    assert code == 0 and report['findings'] == []
    assert report['parts'] == dict(
        train=dict(pictures=3, nuclei=18), val=dict(pictures=2, nuclei=12),
        test=dict(pictures=2, nuclei=12))
    assert 'train: 3 images, 18 nuclei' in capsys.readouterr().out


@pytest.mark.parametrize(('plant', 'sample'), [
    (two_classes, 'a_1'), (unknown_class, 'a_1'), (different_size, 'a_1'),
    (misaligned, 'a_1'), (repeated_image, 'a_2'), (leaked_image, 'b_2')])
def test_a_planted_fault_fills_its_row_and_no_other(run, config, root, plant, sample):
    plant(root)
    code, report = run(config)
    counts = {check: count for check, count in report['counts'].items() if count}
    assert code == 1 and counts == {plant.__name__: 1}
    assert [finding['sample'] for finding in report['findings']] == [sample]


def test_images_without_nuclei_are_information(run, config, root):
    for name in ('c_1', 'c_2'):
        change(root, name, slice(None), slice(None), 0)
    code, report = run(config)
    assert code == 0
    assert report['counts']['empty'] == report['counts']['unused_class'] == 2


def test_a_broken_file_is_named_and_the_others_are_still_checked(run, config, root):
    (root / 'Labels/a_1.npy').write_bytes(b'no array')
    (root / 'Images/b_1.png').write_bytes(b'no image')
    change(root, 'c_2', 13, slice(7, 15), 0)  # cuts a nucleus in two
    code, report = run(config)
    assert code == 2
    assert [(found['check'], found['sample']) for found in report['findings']] == [
        ('unreadable', 'a_1'), ('unreadable', 'b_1'), ('split_instance', 'c_2')]
    assert 'a_1.npy' in report['findings'][0]['detail']


def test_testing_on_the_val_data_is_no_leak(run, config):
    code, report = run(
        config, '--cfg-options', 'test_dataloader.dataset.ann_file=val.txt')
    assert code == 0 and list(report['parts']) == ['train', 'val']
    (finding,) = report['findings']
    assert (finding['check'], finding['part']) == ('same_part', 'test')
    assert finding['detail'] == 'the same data as val'


@pytest.mark.parametrize('damage, message', [
    (lambda config, root: config.write_text('a = ('), 'not a readable config'),
    (lambda config, root: config.write_text('a = 1'), 'has no train_dataloader'),
    (lambda config, root: config.unlink(), 'no such config file'),
    (lambda config, root: shutil.rmtree(root), 'dataset.json: no such file'),
    (lambda config, root: (root / 'Labels/b_2.npy').unlink(), 'b_2.npy: no such label'),
])
def test_what_cannot_be_read_ends_with_two_and_a_sentence(
        run, config, root, damage, message, capsys):
    damage(config, root)
    code, report = run(config)
    assert code == 2 and report is None
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'error: ' in error and message in error


def test_a_missing_folder_for_the_report_is_refused_at_once(run, config, capsys):
    code, _ = run(config, '--out', 'no/such/folder/report.json')
    assert code == 2 and 'there is no folder' in capsys.readouterr().err
