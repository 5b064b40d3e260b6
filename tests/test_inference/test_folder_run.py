# Copyright (c) CellVTA-MMSeg contributors.
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from folder_runs import contents, run, write_picture

from mmseg_cellvta.exports import FORMATS
from mmseg_cellvta.inference import CellInferencer, folder_run, slide_job
from mmseg_cellvta.inference.folder_run import lockstep
from mmseg_cellvta.inference.locks import InUseError, working_alone

ROOT = Path(__file__).resolve().parents[2]
ALL_FORMATS = tuple(FORMATS)


def test_a_picture_leaves_its_files_and_nothing_else(inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    result, = run(inferencer, tmp_path / 'out', [source], report=True)
    assert sorted(contents(tmp_path / 'out')) == [
        'cells.geojson', 'cells.parquet', 'cells_overlay.png', 'cells_report.html',
        'cells_summary.json']
    summary = json.loads((tmp_path / 'out/cells_summary.json').read_text())
    assert summary == json.loads(json.dumps(result.summary))
    assert summary['cells'] == sum(summary['cells_by_class'].values()) == 35
    features = json.loads((tmp_path / 'out/cells.geojson').read_text())['features']
    assert len(features) == 35


def test_the_overlay_is_the_picture_with_outlines_in_class_colours(
        inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    before = cv2.imread(str(source))
    after = cv2.imread(str(tmp_path / 'out/cells_overlay.png'))
    changed = (before != after).any(axis=2)
    assert after.shape == before.shape and 0.02 < changed.mean() < 0.3
    assert (after == (220, 30, 30)).all(axis=2).any()  # BGR of 'blue'


def test_what_is_finished_is_not_done_again(inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    first, = run(inferencer, tmp_path / 'out', [source])
    before = contents(tmp_path / 'out')
    again, = run(inferencer, tmp_path / 'out', [source])
    assert (first.skipped, again.skipped) == (False, True)
    assert contents(tmp_path / 'out') == before


@pytest.mark.parametrize('num_cells', [35, 0])
@pytest.mark.parametrize('first', [['geojson'], ['csv']])
def test_what_is_wanted_later_is_written_without_the_network(
        inferencer, tmp_path, monkeypatch, first, num_cells):
    source = write_picture(tmp_path / 'cells.png')
    if not num_cells:
        cv2.imwrite(str(source), np.full((300, 200, 3), 235, np.uint8))
    later = dict(formats=ALL_FORMATS, report=True)
    run(inferencer, tmp_path / 'out', [source], formats=first)
    before = contents(tmp_path / 'out')
    assert before.keys() >= {'cells.parquet', 'cells_summary.json'}
    (tmp_path / 'out/cells_overlay.png').unlink()
    (tmp_path / 'out/cells.bands.part').mkdir()  # interrupted before it was removed
    run(inferencer, tmp_path / 'at_once', [source], **later)
    monkeypatch.setattr(inferencer, 'network', None)
    result, = run(inferencer, tmp_path / 'out', [source], **later)
    assert result.error is None and not result.skipped
    assert result.summary['cells'] == num_cells
    assert contents(tmp_path / 'out') == contents(tmp_path / 'at_once')


def test_cells_around_nuclei_are_kept_for_formats_that_are_wanted_later(
        rule_model, tmp_path, monkeypatch):
    source = write_picture(tmp_path / 'cells.png')
    expanding = CellInferencer(
        *rule_model, device='cpu', batch_size=4, num_workers=0, expand_um=4.0)
    run(expanding, tmp_path / 'at_once', [source], formats=ALL_FORMATS, report=True)
    run(expanding, tmp_path / 'out', [source], formats=[])
    monkeypatch.setattr(expanding, 'network', None)
    run(expanding, tmp_path / 'out', [source], formats=ALL_FORMATS, report=True)
    assert contents(tmp_path / 'out') == contents(tmp_path / 'at_once')
    feature = json.loads((tmp_path / 'out/cells.geojson').read_text())['features'][0]
    assert feature['properties']['objectType'] == 'cell'
    assert len(list((tmp_path / 'out').glob('cells_spaceranger.*'))) == 2
    with open(tmp_path / 'out/cells_centroids.csv') as file:
        assert 'cytoplasm_eosin_od' in next(file)


def test_nuclei_and_cells_around_them_are_not_mixed(inferencer, rule_model, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    assert 'expand_um' not in inferencer.settings  # older results know no such word
    for before, after in (('None', '4.0'), ('4.0', '5.0')):
        expanding = CellInferencer(*rule_model, device='cpu', batch_size=4,
                                   num_workers=0, expand_um=float(after))
        result, = run(expanding, tmp_path / 'out', [source])
        assert f'expand_um={before}, now {after}' in str(result.error)
        shutil.rmtree(tmp_path / 'out')
        run(expanding, tmp_path / 'out', [source])


def test_without_the_cells_of_the_first_run_they_are_found_again(inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    (tmp_path / 'out/cells.parquet').unlink()
    result, = run(inferencer, tmp_path / 'out', [source], formats=['csv'])
    assert result.error is None and not result.skipped
    run(inferencer, tmp_path / 'at_once', [source], formats=['geojson', 'csv'])
    assert contents(tmp_path / 'out') == contents(tmp_path / 'at_once')


def test_what_an_interruption_left_of_a_finished_input_is_removed(inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    before = contents(tmp_path / 'out')
    (tmp_path / 'out/cells.bands.part').mkdir()
    again, = run(inferencer, tmp_path / 'out', [source])
    assert again.skipped and contents(tmp_path / 'out') == before


def test_inputs_are_closed_also_after_an_error(inferencer, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(slide_job.SlideJob, 'close',
                        lambda job: closed.append(job))
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    monkeypatch.setattr(slide_job.SlideJob, 'plan', property(lambda job: 1 / 0))
    result, = run(inferencer, tmp_path / 'new', [source])
    assert isinstance(result.error, ZeroDivisionError) and len(closed) == 2


def test_for_what_is_finished_no_tissue_is_looked_for(
        inferencer, tmp_path, monkeypatch):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source], tissue_only=True)
    monkeypatch.setattr(slide_job, 'TissueMask', None)
    again, = run(inferencer, tmp_path / 'out', [source], tissue_only=True)
    assert again.error is None and again.skipped


def test_an_input_that_another_run_works_on_is_said(inferencer, tmp_path):
    sources = [write_picture(tmp_path / f'{name}.png') for name in 'ab']
    (tmp_path / 'out').mkdir()
    with working_alone(tmp_path / 'out/.a.lock', 'a'):
        first, second = run(inferencer, tmp_path / 'out', sources)
    assert isinstance(first.error, InUseError)
    assert f'process {os.getpid()} on' in str(first.error)
    assert second.error is None
    assert not [name for name in contents(tmp_path / 'out') if name[0] == '.']


def test_names_of_old_systems(inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png').rename(
        tmp_path / os.fsdecode(b'caf\xe9.png'))
    result, = run(inferencer, tmp_path / 'out', [source], formats=ALL_FORMATS,
                  report=True)
    assert result.error is None
    assert {name[:4] for name in contents(tmp_path / 'out')} == {'café'}


@pytest.mark.parametrize('shape', [(300, 200), (100, 90), (128, 128), (50, 700)])
def test_area_and_cells_agree_with_the_image(inferencer, tmp_path, capsys, shape):
    source = write_picture(tmp_path / 'cells.png', *shape)
    result, = run(inferencer, tmp_path / 'out', [source], quiet=False)
    mm2 = shape[0] * shape[1] * (0.5 / 1000)**2
    assert result.summary['seen_mm2'] == pytest.approx(mm2, rel=0.01)
    assert capsys.readouterr().err.splitlines()[-1].endswith(
        f' {result.summary["cells"]:,} cells in {mm2:.2f} mm²')


def test_an_unreadable_input_does_not_stop_the_others(inferencer, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'not a picture')
    sources = [tmp_path / 'a.png', write_picture(tmp_path / 'b.png')]
    broken, good = run(inferencer, tmp_path / 'out', sources)
    assert isinstance(broken.error, ValueError) and 'a.png' in str(broken.error)
    assert good.error is None and good.summary['cells'] == 35
    assert not [name for name in contents(tmp_path / 'out') if name.startswith('a')]


def test_all_formats_come_out_byte_identical_twice(inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    for name in ('one', 'two'):
        run(inferencer, tmp_path / name, [source], formats=ALL_FORMATS, report=True)
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def infer(rule_model, source, out, *options, **popen):
    env = dict(os.environ, OMP_NUM_THREADS='1',
               PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]))
    return subprocess.Popen(
        [sys.executable, 'tools/infer.py', *map(str, rule_model), str(source), '--out',
         str(out), '--mpp', '0.5', '--device', 'cpu', '--batch-size', '4', '--quiet',
         *options],
        cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True, **popen)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
        rule_model, inferencer, tmp_path):
    source = write_picture(tmp_path / 'slide.png', 4200, 120)
    run(inferencer, tmp_path / 'whole', [source])
    process = infer(rule_model, source, tmp_path / 'out')
    bands = tmp_path / 'out/slide.bands.part'
    while len(list(bands.glob('band_*.npz'))) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = list(bands.glob('band_*.npz'))
    assert 2 <= len(done) < 5 and not (tmp_path / 'out/slide.geojson').exists()
    kept = {path: path.stat().st_mtime_ns for path in done}
    _, errors = (again := infer(rule_model, source, tmp_path / 'out')).communicate()
    assert again.returncode == 0, errors
    assert kept.keys().isdisjoint(tmp_path.iterdir()) and not bands.exists()
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


@pytest.mark.parametrize('num_ranks, num_inputs', [(2, 1), (2, 3)])
def test_processes_find_what_one_finds(
        rule_model, inferencer, tmp_path, num_ranks, num_inputs):
    (tmp_path / 'in').mkdir()
    sources = [write_picture(tmp_path / f'in/{index}.png', 1500, 100, seed=index)
               for index in range(num_inputs)]
    run(inferencer, tmp_path / 'alone', sources)
    port = str(20000 + os.getpid() % 20000 + 10 * num_ranks + num_inputs)
    ranks = []
    for rank in range(num_ranks):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank),
                          WORLD_SIZE=str(num_ranks),
                          MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        ranks.append(infer(rule_model, tmp_path / 'in', tmp_path / 'out',
                           '--launcher', 'pytorch'))
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        del os.environ[name]
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert contents(tmp_path / 'out') == contents(tmp_path / 'alone')


def test_the_tool_ends_with_1_if_an_input_failed(rule_model, tmp_path):
    (tmp_path / 'in').mkdir()
    broken = tmp_path / 'in/a name [bold] that is neither wrapped nor markup.png'
    broken.write_bytes(b'not a picture')
    write_picture(tmp_path / 'in/b.png')
    process = infer(rule_model, tmp_path / 'in', tmp_path / 'out', '--profile')
    _, errors = process.communicate()
    assert process.returncode == 1
    assert str(broken) in errors and 'Traceback' not in errors
    assert 'network' in errors and (tmp_path / 'out/b.geojson').is_file()


def test_batch_sizes_do_not_change_what_is_found(rule_model, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    for size in (1, 3):
        inferencer = CellInferencer(*rule_model, device='cpu', batch_size=size)
        run(inferencer, tmp_path / str(size), [source])
    assert contents(tmp_path / '1') == contents(tmp_path / '3')


@pytest.mark.parametrize('together', [False, True])
def test_an_own_error_stays_what_it_is(together):
    with pytest.raises(OSError, match='disk full'), lockstep(together):
        raise OSError('disk full')
    with lockstep(together):
        pass


def test_the_error_of_another_process_is_raised_here(monkeypatch):
    monkeypatch.setattr(folder_run, 'all_gather_object', lambda own: [own, 'disk full'])
    with pytest.raises(RuntimeError, match='disk full'), lockstep(together=True):
        pass
    with lockstep(together=False):  # this one works alone
        pass
