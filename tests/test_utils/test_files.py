# Copyright (c) CellVTA-MMSeg contributors.
import json
import os
from pathlib import Path

import numpy as np
import pytest
from little_room import little_room

from mmseg_cellvta.utils import files
from mmseg_cellvta.utils.files import (
    PendingFolder,
    complete_file,
    content_digest,
    describe_changes,
    describe_files,
    open_npy,
    settings_digest,
)
from mmseg_cellvta.utils.images import write_image


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'cells.geojson.gz'
    with complete_file(path) as part:
        part.write_text('cells')
        assert not path.exists() and part.suffixes[-2:] == ['.geojson', '.gz']
    assert path.read_text() == 'cells'
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_older_file_stays(tmp_path):
    path = tmp_path / 'cells.csv'
    path.write_text('old')
    with pytest.raises(OSError, match='disk full'), complete_file(path) as part:
        part.write_text('half')
        raise OSError('disk full')
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_folder_appears_when_it_is_published(tmp_path):
    folder = PendingFolder(tmp_path / 'deep' / 'out', dict(side=(1, 2)))
    (folder.part / 'file').write_text('x')
    folder.record('step', 3)
    assert not folder.path.exists()
    folder.publish()
    assert sorted(path.name for path in folder.path.iterdir()) == [
        'conversion.json', 'file']
    assert json.loads((folder.path / 'conversion.json').read_text()) == dict(
        side=[1, 2])
    assert not folder.part.exists()


def test_progress_is_found_again_with_the_same_settings(tmp_path):
    first = PendingFolder(tmp_path / 'out', dict(side=(1, 2)))
    first.record('a', 3)
    first.record('b', 5)
    first.record('a', 4)
    again = PendingFolder(tmp_path / 'out', dict(side=(1, 2)))
    assert [again.progress(step) for step in 'abc'] == [4, 5, 0]


def test_other_settings_are_refused_and_only_the_changed_named(tmp_path):
    PendingFolder(tmp_path / 'out', dict(folds=5, same='same'))
    with pytest.raises(FileExistsError, match=(
            r'out\.part: begun with other settings, folds=5, now 4; delete it')):
        PendingFolder(tmp_path / 'out', dict(folds=4, same='same'))
    assert (tmp_path / 'out.part' / 'conversion.json').is_file()


@pytest.mark.parametrize('make', [
    lambda path: path.mkdir(), lambda path: path.write_text('x'),
    lambda path: path.symlink_to('nowhere')])
def test_what_has_the_name_already_is_kept(tmp_path, make):
    make(tmp_path / 'out')
    with pytest.raises(FileExistsError, match='out: exists already'):
        PendingFolder(tmp_path / 'out', {})
    assert os.path.lexists(tmp_path / 'out')
    assert not (tmp_path / 'out.part').exists()


def test_a_foreign_folder_is_not_taken_over(tmp_path):
    (tmp_path / 'out.part').mkdir()
    (tmp_path / 'out.part' / 'thesis.txt').write_text('x')
    with pytest.raises(FileExistsError, match='holds thesis.txt but no conversion'):
        PendingFolder(tmp_path / 'out', {})
    assert len(list((tmp_path / 'out.part').iterdir())) == 1


def test_a_kill_before_the_first_file_is_no_obstacle(tmp_path):
    (tmp_path / 'out.part').mkdir()
    (tmp_path / 'out.part' / 'conversion.json.new').write_text('{"hal')
    PendingFolder(tmp_path / 'out', dict(folds=5))
    PendingFolder(tmp_path / 'out', dict(folds=5)).publish()
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['conversion.json']


def test_a_replaced_file_has_another_description(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'a.npy'
    path.write_text('one')
    before = describe_files(['a.npy'])
    assert before == describe_files([path]) and list(before) == [str(path)]
    os.utime(path, ns=(0, 0))
    assert describe_files([path]) != before


def test_settings_in_any_order_have_equal_digits_and_any_change_shows():
    first = settings_digest(dict(a=1, b=[2, dict(c=Path('x'))]))
    assert first == settings_digest(dict(b=[2, dict(c='x')], a=1))
    assert first == '2fc0512a3065c476'
    assert settings_digest(dict(a=1, b=[2, dict(c=Path('x'))]), digits=8) == first[:8]
    assert len({settings_digest(settings) for settings in (
        dict(a=1), dict(a=2), dict(a='1'), dict(b=1), [1], dict(a=[1]))}) == 6


def test_npy_is_mapped_once_per_process(tmp_path):
    np.save(tmp_path / 'a.npy', np.arange(4))
    first = open_npy(str(tmp_path / 'a.npy'))
    assert isinstance(first, np.memmap) and not first.flags.writeable
    assert open_npy(str(tmp_path / 'a.npy')) is first


def test_damaged_npy_is_named_with_its_size(tmp_path):
    path = tmp_path / 'a.npy'
    np.save(path, np.zeros((100, 100)))
    for content in (path.read_bytes()[:5000], b'', b'no array at all'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=(
                rf'a\.npy: not a complete .* {len(content)} bytes')):
            open_npy(str(path))
    np.savez(path.with_suffix('.npz'), a=1)
    path.write_bytes(path.with_suffix('.npz').read_bytes())
    with pytest.raises(ValueError, match=r'a\.npy: an \.npz archive'):
        open_npy(str(path))


def save_array(part):
    with open(part, 'wb') as file:
        np.save(file, np.zeros(1000))


@pytest.mark.parametrize('write', [
    lambda part: part.write_text(1000 * 'x'), save_array,
    lambda part: write_image(part, np.zeros((90, 90, 3), np.uint8))])
def test_an_error_of_writing_names_the_file(tmp_path, write):
    path = tmp_path / 'results.bmp'
    with pytest.raises(OSError, match=str(path)), little_room(), \
            complete_file(path) as part:
        write(part)
    assert not list(tmp_path.iterdir())


def test_errors_that_name_another_file_stay(tmp_path):
    with pytest.raises(FileNotFoundError, match='other'), \
            complete_file(tmp_path / 'results.csv'):
        open(tmp_path / 'other')


@pytest.mark.parametrize('size', [0, 1000, 4096, 5000])
def test_content_is_known_by_every_byte_of_small_files(tmp_path, size):
    path, copy = tmp_path / 'a.png', tmp_path / 'b.svs'
    content = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    path.write_bytes(content)
    copy.write_bytes(content)
    os.utime(copy, (0, 0))
    digest = content_digest([path])
    assert digest == content_digest([copy]) != content_digest([path, copy])
    for place in {0, size // 2, size - 1} - {-1} if size else ():
        changed = bytearray(content)
        changed[place] ^= 1
        copy.write_bytes(changed)
        assert content_digest([copy]) != digest
    copy.write_bytes(content + b'x')
    assert content_digest([copy]) != digest


def test_of_large_files_pieces_are_read_from_the_first_to_the_last(
        tmp_path, monkeypatch):
    monkeypatch.setattr(files, 'DIGEST_WHOLE', 4000)
    monkeypatch.setattr(files, 'DIGEST_PIECE', 100)
    path = tmp_path / 'a.svs'
    path.write_bytes(bytes(100_000))
    digest = content_digest([path])
    for place in (0, 99, 99_900, 99_999):
        changed = bytearray(100_000)
        changed[place] = 1
        path.write_bytes(changed)
        assert content_digest([path]) != digest
    starts = list(files._piece_starts(100_000))
    assert len(starts) == 10 and max(np.diff(starts)) < 12_000


@pytest.mark.parametrize('old, new, expected', [
    (dict(amp=False, tile=[256, 256]), dict(amp=True, tile=[256, 256]),
     'amp=False, now True'),
    (dict(tile=[256, 256]), dict(tile=[256, 512]),
     'tile=[256, 256], now [256, 512]'),
    (dict(a=dict(b=1)), dict(a=dict(c=2)), 'a.b=1, now None; a.c=None, now 2'),
    (dict(a={}), dict(a=dict(b=1)), 'a={}, now None; a.b=None, now 1'),
    (dict.fromkeys('abcdefg', 0), {}, '; '.join(
        f'{name}=0, now None' for name in 'abcde') + '; 2 more'),
    (dict(a=dict(b=[1])), dict(a=dict(b=[1])), '')])
def test_changed_settings_are_named(old, new, expected):
    assert describe_changes(old, new) == expected
