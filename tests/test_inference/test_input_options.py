# Copyright (c) CellVTA-MMSeg contributors.
"""Damaged tiles, bounds and µm/px of slides, from the input to the written files."""
import base64
import json
import re

import cv2
import numpy as np
import pandas
import pytest
from rule_segmentor import draw_slide
from run_tool import run_tool
from slide_files import TILE, damage_tile, write_scn, write_slide

from mmseg_cellvta.inference import CellInferencer, FolderRun
from mmseg_cellvta.inference.band_store import BandStore
from mmseg_cellvta.inference.results import SlideResults

OFFSET = (200, 160)


def make(rule_model, **options):
    return CellInferencer(*rule_model, device='cpu', batch_size=4,
                          **{'num_workers': 0, **options})


def run(inferencer, out, source, **options):
    result, = FolderRun(inferencer, out, **{'quiet': True, **options})([source])
    return result


def places(out, name='a'):
    return pandas.read_parquet(out / f'{name}.parquet')[['x_px', 'y_px']].to_numpy()


@pytest.fixture
def slide(tmp_path):
    pytest.importorskip('openslide')
    return write_slide(tmp_path / 'a.tif', draw_slide(400, 700)[0])


@pytest.mark.parametrize('num_workers', [0, 4])
def test_cells_beside_damaged_tiles_are_found(
        rule_model, slide, tmp_path, num_workers, monkeypatch):
    monkeypatch.setattr('mmseg_cellvta.inference.inferencer.FEW_TILES', 1)
    plain = make(rule_model)
    assert run(plain, tmp_path / 'whole', slide).error is None
    damage_tile(slide, 300, 200)
    error = run(plain, tmp_path / 'strict', slide).error
    assert f'a.tif: damaged at x={2 * TILE}, y={TILE} px of level 0' in str(error)
    assert list((tmp_path / 'strict').glob('a_summary.json')) == []

    tolerant = make(rule_model, skip_damaged=True, num_workers=num_workers)
    # Without looking for tissue only those who read tiles meet the damage.
    result = run(tolerant, tmp_path / 'out', slide, report=True, tissue_only=False)
    tolerant.close()
    assert result.error is None and result.summary['damaged_tiles'] == 1
    assert result.summary['remarks'] == [
        f'a.tif: 1 damaged tile is taken for glass, from x={2 * TILE}, y={TILE} px '
        'of level 0 on']
    far = [~((np.abs(found - (2.5 * TILE, 1.5 * TILE)) < TILE / 2 + 16).all(axis=1))
           for found in (places(tmp_path / 'whole'), places(tmp_path / 'out'))]
    np.testing.assert_allclose(
        places(tmp_path / 'out')[far[1]], places(tmp_path / 'whole')[far[0]])
    assert len(places(tmp_path / 'out')) < len(places(tmp_path / 'whole'))


def test_without_damage_the_option_changes_nothing(rule_model, slide, tmp_path):
    for name, skip in (('off', False), ('on', True)):
        run(make(rule_model, skip_damaged=skip), tmp_path / name, slide)
    for name in ('a.parquet', 'a.geojson'):
        assert (tmp_path / 'on' / name).read_bytes() == (
            tmp_path / 'off' / name).read_bytes()
    summary = json.loads((tmp_path / 'on/a_summary.json').read_text())
    assert summary['damaged_tiles'] == 0 and 'remarks' not in summary
    # Results depend on it all the same: those of one are not those of the other.
    assert summary['settings']['skip_damaged'] is True
    error = run(make(rule_model), tmp_path / 'on', slide).error
    assert isinstance(error, FileExistsError)


def test_settings_without_options_are_those_of_earlier_versions(rule_model):
    settings = make(rule_model).settings
    assert not {'skip_damaged', 'origin', 'force_mpp'} & settings.keys()


def test_damage_that_an_interrupted_run_found_is_counted(tmp_path):
    first = BandStore(tmp_path / 'a.bands', {}, lambda: 4)
    first.save_damage(0, set())
    first.save_damage(1, {(0, 6, 5)})
    first.save_damage(2, {(0, 6, 5), (1, 0, 0)})
    again = BandStore(tmp_path / 'a.bands', {}, lambda: 4)
    assert again.load_damage() == {(0, 6, 5), (1, 0, 0)}


def test_damage_counts_although_another_run_has_met_it(
        rule_model, slide, tmp_path, monkeypatch):
    damage_tile(slide, 300, 200)
    inferencer = make(rule_model, skip_damaged=True)
    with monkeypatch.context() as patch:
        patch.setattr(SlideResults, 'write_all', lambda *args: 1 / 0)
        stopped = run(inferencer, tmp_path / 'out', slide, tissue_only=False)
    assert isinstance(stopped.error, ZeroDivisionError)
    monkeypatch.setattr(inferencer, 'network', None)  # all cells are found
    result = run(inferencer, tmp_path / 'out', slide, tissue_only=False)
    assert result.error is None and result.summary['damaged_tiles'] == 1


@pytest.fixture
def scan(tmp_path):
    pytest.importorskip('openslide')
    image, centres, _ = draw_slide(300, 400)
    return write_scn(tmp_path / 'a.scn', image, OFFSET), centres


def test_the_report_shows_the_places_of_the_cells(rule_model, scan, tmp_path):
    pages = []
    for origin in ('slide', 'bounds'):
        run(make(rule_model, origin=origin), tmp_path / origin, scan[0], report=True)
        page = (tmp_path / origin / 'a_report.html').read_text()
        pages.append(re.findall('data:image/jpeg;base64,([^"\')]+)', page))
    assert len(pages[0]) > 5 and set(pages[0]) - set(pages[1]) == {pages[0][0]}
    seen = cv2.imdecode(np.frombuffer(base64.b64decode(pages[1][0]), np.uint8), 1)
    assert seen.shape == (300, 400, 3)
    assert np.abs(seen[..., ::-1].astype(int) - draw_slide(300, 400)[0]).mean() < 5


@pytest.mark.parametrize(('first', 'num_cells', 'expand_um'), [
    (['geojson'], 'some', None), (['csv'], 'some', 4.0),
    (['geojson'], 'none', None), (['csv'], 'none', 4.0)])
def test_all_formats_count_from_the_same_corner(
        rule_model, scan, tmp_path, first, num_cells, expand_um):
    every = ['geojson', 'parquet', 'csv', 'cellvit', 'labels', 'spaceranger', 'xenium']
    if num_cells == 'none':
        scan = write_scn(scan[0], np.full((300, 400, 3), 240, np.uint8), OFFSET), []
    for origin in ('slide', 'bounds'):
        inferencer = make(rule_model, origin=origin, expand_um=expand_um)
        run(inferencer, tmp_path / origin, scan[0], formats=first)
        added = run(inferencer, tmp_path / origin, scan[0], formats=every, report=True)
        assert added.error is None and not added.skipped
        at_once = tmp_path / f'{origin} at once'
        run(inferencer, at_once, scan[0], formats=every, report=True)
        for path in at_once.iterdir():
            assert path.read_bytes() == (tmp_path / origin / path.name).read_bytes()
    summaries = {origin: json.loads((tmp_path / origin / 'a_summary.json').read_text())
                 for origin in ('slide', 'bounds')}
    for origin, summary in summaries.items():
        assert summary['origin'] == origin
        assert summary['bounds'] == [*OFFSET, 400, 300]
    assert summaries['bounds']['shape'] == [300, 400]
    assert summaries['slide']['shape'][0] > 460
    np.testing.assert_array_equal(
        places(tmp_path / 'bounds') + OFFSET, places(tmp_path / 'slide'))
    shapes = ['geometry'] if expand_um is None else ['geometry', 'nucleusGeometry']
    rings = [[feature[shape]['coordinates'][0] for shape in shapes for feature in
              json.loads((tmp_path / origin / 'a.geojson').read_text())['features']]
             for origin in ('bounds', 'slide')]
    assert len(rings[0]) == len(shapes) * len(scan[1]) and all(
        np.add(one, OFFSET).tolist() == other
        for one, other in zip(*rings, strict=True))


def test_cells_lie_in_the_scanned_part(rule_model, scan):
    source, centres = scan
    cells = make(rule_model, origin='bounds')(source)
    distance = np.abs(cells.centroids[:, None] - centres).max(axis=2)
    assert len(cells) == len(centres) and (distance.min(axis=1) < 1).all()


def test_a_slide_without_bounds_is_counted_from_its_corner(rule_model, slide, tmp_path):
    for origin in ('slide', 'bounds'):
        run(make(rule_model, origin=origin), tmp_path / origin, slide)
    np.testing.assert_array_equal(
        places(tmp_path / 'bounds'), places(tmp_path / 'slide'))
    summary = json.loads((tmp_path / 'bounds/a_summary.json').read_text())
    assert summary['origin'] == 'bounds' and 'bounds' not in summary


def test_unknown_origin_is_refused(rule_model):
    with pytest.raises(ValueError, match="origin='corner': expected one of"):
        make(rule_model, origin='corner')


def test_stated_pixels_are_kept_and_that_is_said(rule_model, slide, tmp_path):
    kept = run(make(rule_model), tmp_path / 'kept', slide, mpp=0.25).summary
    assert kept['mpp'] == pytest.approx(0.5)
    assert kept['remarks'] == ['a.tif: it states 0.5 µm/px, which is kept; --mpp 0.25 '
                               'needs --force-mpp']
    forced = run(make(rule_model, force_mpp=True), tmp_path / 'forced', slide, mpp=0.25)
    assert forced.summary['mpp'] == 0.25 and 'remarks' not in forced.summary
    with pytest.warns(UserWarning, match='it states 0.5 µm/px, which is kept'):
        make(rule_model)(slide, mpp=0.25)


@pytest.mark.parametrize('mpp', [40, 0.001, -1, float('nan'), float('inf')])
def test_sizes_that_no_pixel_has_are_refused(rule_model, mpp):
    with pytest.raises(ValueError, match=f'array: mpp={mpp}; expected µm/px'):
        make(rule_model)(draw_slide(70, 50)[0], mpp=mpp)


def infer(rule_model, out, *arguments):
    return run_tool('infer.py', *rule_model, *arguments, '--out', out,
                    '--device', 'cpu', '--batch-size', 4, '--num-workers', 0)


def test_the_tool_warns_and_takes_its_options(rule_model, scan, tmp_path, capsys):
    out = tmp_path / 'out'
    assert infer(rule_model, out, scan[0], '--mpp', 0.25) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines()
                if line.startswith('warning: ')]
    assert warnings == ['warning: a.scn: it states 0.5 µm/px, which is kept; '
                        '--mpp 0.25 needs --force-mpp']
    assert infer(rule_model, out / '2', scan[0], '--mpp', 0.4, '--force-mpp',
                 '--skip-damaged', '--origin', 'bounds') == 0
    assert 'warning' not in capsys.readouterr().err
    summary = json.loads((out / '2/a_summary.json').read_text())
    assert (summary['mpp'], summary['origin'], summary['damaged_tiles']) == (
        0.4, 'bounds', 0)


@pytest.mark.parametrize('mpp', ['40', '0.001', '-0.5', 'inf', 'nan'])
def test_the_tool_refuses_what_is_no_size_of_a_pixel(rule_model, tmp_path, mpp):
    (tmp_path / 'a.png').touch()
    error = infer(rule_model, tmp_path / 'out', tmp_path / 'a.png', f'--mpp={mpp}')
    assert error.startswith(f'error: --mpp {mpp}: expected µm/px')
    assert ('is that a magnification?' in error) == (mpp in ('40', 'inf'))
    assert not (tmp_path / 'out').exists()
