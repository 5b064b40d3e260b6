# Copyright (c) CellVTA-MMSeg contributors.
import shutil

import pytest
from own_data import write_image, write_labels
from run_tool import run_script

CLASSES = ['--classes', 'tumour,other', '--mpp', 0.25]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Convert ``own`` to ``out``, in this process."""

    def convert(*args):
        monkeypatch.chdir(tmp_path)
        run_script('dataset_converters/custom.py', 'own', 'out', *args)

    return convert


@pytest.fixture
def source(tmp_path):
    for i in range(10):
        write_image(tmp_path / f'own/images/p{i // 2}_{i}.png')
        write_labels(tmp_path / f'own/labels/p{i // 2}_{i}.geojson')
    return tmp_path / 'own'


def count_lines(tmp_path, part):
    path = tmp_path / f'out/{part}.txt'
    return len(path.read_text().splitlines()) if path.exists() else None


def test_a_tenth_and_a_fifth_are_set_aside_unless_told(source, run, tmp_path, capsys):
    run(*CLASSES)
    assert [count_lines(tmp_path, part) for part in ('train', 'val', 'test')] == [
        7, 1, 2]
    printed = capsys.readouterr().out
    assert 'every image 60 x 40 px' in printed and '14 (66.7 %)' in printed
    assert "for your config: data_root = 'out', num_classes = 3" in printed


def test_shares_and_groups(source, run, tmp_path):
    run(*CLASSES, '--val-share', 0, '--test-share', 0.4, '--group', r'^(p\d)')
    assert [count_lines(tmp_path, part) for part in ('train', 'val', 'test')] == [
        6, None, 4]


def test_tiles(source, run, tmp_path):
    run(*CLASSES, '--tile', 40, '--overlap', 20)
    assert count_lines(tmp_path, 'train') == 14
    assert (tmp_path / 'out/Images/p0_0_r0000_c0020.png').exists()


def test_names_of_classes_in_a_file(source, run, tmp_path, capsys):
    (tmp_path / 'names.txt').write_text('Other\nTumour\n')
    run('--classes', 'names.txt', '--mpp', 0.25)
    assert 'num_classes = 3' in capsys.readouterr().out


def test_divided_folders_need_no_shares(source, run, tmp_path, capsys):
    for part in ('train', 'test'):
        shutil.copytree(source, tmp_path / f'new/{part}')
    shutil.rmtree(source)
    (tmp_path / 'new').rename(source)
    with pytest.raises(SystemExit, match='give no --val-share'):
        run(*CLASSES, '--val-share', 0.5)
    run(*CLASSES)
    assert [count_lines(tmp_path, part) for part in ('train', 'val', 'test')] == [
        10, None, 10]


def test_remarks_are_printed(source, run, capsys):
    path = source / 'labels/p0_0.geojson'
    path.write_text(path.read_text().replace('[60, 30], [60, 40], [50, 40]',
                                             '[50, 30], [50, 30], [50, 30]'))
    run(*CLASSES)
    printed = ' '.join(capsys.readouterr().out.split())
    assert 'p0_0.geojson: 1 of 3 outlines have no pixel' in printed


@pytest.mark.parametrize(('args', 'message'), [
    (['--classes', 'tumour', '--mpp', 0], '--mpp 0.0: expected'),
    (['--classes', 'tumour,TUMOUR', '--mpp', 1], "'tumour' is there twice"),
    (['--classes', 'a,b', '--mpp', 1], "class 'Tumour' is none of a, b"),
    ([*CLASSES, '--tile', -3], 'tiles of -3 px'),
    ([*CLASSES, '--val-share', 0.9], 'shares of 0.9 and 0.2'),
    ([*CLASSES, '--group', 'p'], '--group p: expected round brackets')])
def test_errors_are_one_sentence(source, run, tmp_path, args, message):
    with pytest.raises(SystemExit) as stop:
        run(*args)
    assert message in str(stop.value) and '\n' not in str(stop.value)
    assert not (tmp_path / 'out').exists()
