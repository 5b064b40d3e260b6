# Copyright (c) CellVTA-MMSeg contributors.
"""The converters as commands: their arguments, what they print, and their faults."""
import re
import subprocess
import sys

import pytest
from conic_files import write_conic
from interrupted import run_and_kill
from own_data import write_image, write_labels
from pannuke_files import write_fold
from rich.progress import Progress
from run_tool import TOOLS, run_script

from mmseg_cellvta.conversion import conic, consep, custom, pannuke, writers
from mmseg_cellvta.conversion.splits import GroupSplit
from mmseg_cellvta.conversion.writers import Tiling

CUSTOM_ARGS = ['--classes', 'tumour,other', '--mpp', 0.25]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Converts ``src`` to ``out`` in this process."""

    def convert(tool, *args):
        monkeypatch.chdir(tmp_path)
        run_script(f'dataset_converters/{tool}.py', tmp_path / 'src', 'out', *args)

    return convert


def write_pannuke(folder):
    write_fold(folder / 'fold2')
    write_fold(folder / 'fold3', num=11)


def write_consep(folder):
    for i in range(1, 11):
        write_image(folder / f'Train/Images/train_{i}.png')
        write_labels(folder / f'Train/Labels/train_{i}.mat')


def write_custom(folder):
    for i in range(10):
        write_image(folder / f'images/p{i // 2}_{i}.png')
        write_labels(folder / f'labels/p{i // 2}_{i}.geojson')


SOURCES = dict(conic=write_conic, pannuke=write_pannuke, consep=write_consep,
               custom=write_custom)
ARGS = dict(custom=CUSTOM_ARGS)


@pytest.mark.parametrize('tool', SOURCES)
def test_help_does_not_wait_for_slow_imports(tool):
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', TOOLS / f'dataset_converters/{tool}.py',
         '--help'], capture_output=True, text=True, check=True)
    assert 'argparse' in done.stderr and 'converter_arguments' in done.stderr
    assert not re.search(r'\| +(torch|mm\w+|cv2|scipy|skimage)$', done.stderr, re.M)


@pytest.mark.parametrize(('args', 'message'), [
    (['conic', 'gone', 'out'], 'argument src: gone: no such folder'),
    *([[tool, 'src', 'src', *ARGS.get(tool, [])], 'argument out: src: exists already; '
       'delete it or choose another folder'] for tool in SOURCES),
    (['consep', 'src', 'out', '--tile', -3], '--tile: -3 px: expected 0 or more'),
    (['custom', 'src', 'out', '--mpp', 0], '--mpp: 0: expected µm/px above 0'),
    (['custom', 'src', 'out', '--mpp', 'nan'], '--mpp: nan: expected'),
    (['custom', 'src', 'out', '--val-share', 1], '--val-share: 1: expected a share')])
def test_wrong_arguments_are_named(tmp_path, monkeypatch, capsys, args, message):
    (tmp_path / 'src').mkdir()
    monkeypatch.chdir(tmp_path)
    tool, *args = args
    with pytest.raises(SystemExit, match='2'):
        run_script(f'dataset_converters/{tool}.py', *args)
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['src']


@pytest.mark.parametrize(('tool', 'args', 'message'), [
    ('conic', ['--folds', 11], '11 folds: expected 2 to 10'),
    ('consep', ['--tile', 40, '--overlap', 40], 'tiles of 40 px'),
    ('custom', ['--classes', 'tumour,TUMOUR', '--mpp', 1], "'TUMOUR' is there twice"),
    ('custom', ['--classes', 'a,b', '--mpp', 1], "class 'Tumour' is none of a, b"),
    ('custom', [*CUSTOM_ARGS, '--val-share', 0.9], 'shares of 0.9 and 0.2'),
    ('custom', [*CUSTOM_ARGS, '--group', 'p'], '--group p: expected round brackets')])
def test_faults_are_one_sentence(tmp_path, run, tool, args, message):
    SOURCES[tool](tmp_path / 'src')
    with pytest.raises(SystemExit) as stop:
        run(tool, *args)
    assert message in str(stop.value) and '\n' not in str(stop.value)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('tool', 'said'), [
    ('conic', ['out: by the split of the paper', 'every image 8 x 8 px',
               'epithelial │ 17 (50.0 %) │ 2 (50.0 %)',
               'splits/paper.json is not the test part of the paper']),
    ('pannuke', ['every image 32 x 32 px', 'neoplastic', 'so there is no fold1']),
    ('consep', ['every image 60 x 40 px']),
    ('custom', ['every image 60 x 40 px', '14 (66.7 %)',
                "for your config: data_root = 'out', num_classes = 3"])])
def test_table_and_remarks_are_printed(tmp_path, run, capsys, tool, said):
    SOURCES[tool](tmp_path / 'src')
    run(tool, *ARGS.get(tool, []))
    printed = ' '.join(capsys.readouterr().out.split())
    for words in said:
        assert words in printed


def count_lines(path):
    return len(path.read_text().splitlines()) if path.exists() else None


@pytest.mark.parametrize(('args', 'counts'), [
    ([], [7, 1, 2]),
    (['--val-share', 0, '--test-share', 0.4, '--group', r'^(p\d)'], [6, None, 4]),
    (['--tile', 40, '--overlap', 20], [14, 2, 4])])
def test_custom_images_are_divided_as_told(tmp_path, run, args, counts):
    write_custom(tmp_path / 'src')
    run('custom', *CUSTOM_ARGS, *args)
    assert counts == [count_lines(tmp_path / f'out/{part}.txt')
                      for part in ('train', 'val', 'test')]


def test_divided_folders_need_no_shares(tmp_path, run):
    for part in ('train', 'test'):
        write_custom(tmp_path / f'src/{part}')
    with pytest.raises(SystemExit, match='give no --val-share'):
        run('custom', *CUSTOM_ARGS, '--val-share', 0.5)
    run('custom', *CUSTOM_ARGS)
    assert [count_lines(tmp_path / f'out/{part}.txt')
            for part in ('train', 'val', 'test')] == [10, None, 10]


@pytest.mark.parametrize(('tool', 'convert', 'args'), [
    ('conic', conic.convert_conic, [5]), ('pannuke', pannuke.convert_pannuke, []),
    ('consep', consep.convert_consep, [Tiling(30, 5)]),
    ('custom', custom.convert_custom, [['background', 'tumour', 'other'], 0.25,
                                       Tiling(), GroupSplit(0.1, 0.2)])])
def test_killed_twice_it_goes_on_to_the_same_files(tmp_path, monkeypatch, tool, convert,
                                                   args):
    monkeypatch.setattr(writers, 'PATCHES_PER_CHUNK', 4)
    SOURCES[tool](tmp_path / 'src')
    convert(tmp_path / 'src', tmp_path / 'whole', *args, Progress(disable=True))
    for kill_at in (3, 8):  # in PanNuke after the first fold, then in the second
        run_and_kill(lambda progress: convert(
            tmp_path / 'src', tmp_path / 'out', *args, progress), kill_at)
        assert not (tmp_path / 'out').exists()
    written = {path: path.stat().st_mtime_ns
               for path in tmp_path.glob('out.part/Labels/*.npy')}
    convert(tmp_path / 'src', tmp_path / 'out', *args, Progress(disable=True))
    for path, time in written.items():
        path = tmp_path / 'out/Labels' / path.name
        assert path.stat().st_mtime_ns == time
    files = [sorted(path.relative_to(folder) for path in folder.rglob('*.*'))
             for folder in (tmp_path / 'whole', tmp_path / 'out')]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / 'out' / name).read_bytes() == (
            tmp_path / 'whole' / name).read_bytes()
