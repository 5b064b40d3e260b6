# Copyright (c) CellVTA-MMSeg contributors.
"""Whether the files of an earlier run are kept, taken for finished, or refused."""
import json
import os
import shutil

import cv2
import pytest
import torch
from folder_runs import contents, run, write_picture
from mmengine.config import Config
from rule_segmentor import PALETTE

from mmseg_cellvta.inference import CellInferencer


def change_pixel(source):
    image = cv2.imread(str(source))
    image[150:, 100] = 255 - image[150:, 100]
    cv2.imwrite(str(source), image)


@pytest.mark.parametrize('change, options, said', [
    (None, dict(mpp=0.25), r'mpp=0.5, now 0.25'),
    (None, dict(tissue_only=True), 'tissue_only=False, now True'),
    (change_pixel, {}, 'the image or slide is another one')])
def test_results_of_other_settings_are_refused(
        inferencer, tmp_path, change, options, said):
    source = write_picture(tmp_path / 'cells.bmp')  # as many bytes with other pixels
    run(inferencer, tmp_path / 'out', [source])
    before = contents(tmp_path / 'out')
    if change:
        change(source)
    result, = run(inferencer, tmp_path / 'out', [source], **options)
    assert isinstance(result.error, FileExistsError) and said in str(result.error)
    assert contents(tmp_path / 'out') == before


@pytest.mark.parametrize('options, said', [
    (dict(embeddings=True), 'embeddings=False, now True'),
    (dict(markers='hovernet'), "model.post_processor.markers='rising', now 'hovernet'"),
    (dict(weights=True), 'other weights')])
def test_another_model_is_named(rule_model, inferencer, tmp_path, options, said):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    cfg, weights = Config.fromfile(rule_model[0]), rule_model[1]
    if 'markers' in options:
        cfg.model.post_processor.markers = options['markers']
    if 'weights' in options:
        checkpoint = torch.load(weights)
        torch.save(dict(checkpoint, meta=dict(dataset_meta=dict(
            classes=('background', 'a', 'b'), palette=PALETTE))), tmp_path / 'w.pth')
        weights = tmp_path / 'w.pth'
    other = CellInferencer(cfg, weights, device='cpu', batch_size=4, num_workers=0,
                           embeddings=options.get('embeddings', False))
    result, = run(other, tmp_path / 'out', [source])
    assert isinstance(result.error, FileExistsError) and said in str(result.error)


def test_what_changes_nothing_does_not_count(rule_model, inferencer, tmp_path):
    source = write_picture(tmp_path / 'in.png')
    run(inferencer, tmp_path / 'out', [source], tissue_only=False)
    (tmp_path / 'moved').mkdir()
    moved = shutil.copyfile(source, tmp_path / 'moved/in.png')
    weights = shutil.copyfile(rule_model[1], tmp_path / 'moved/other.pth')
    cfg = Config.fromfile(rule_model[0])
    cfg.model.decode_head.update(loss_nc=cfg.model.decode_head.loss_np, with_cp=True)
    cfg.model.train_cfg = dict()
    other = CellInferencer(cfg, weights, device='cpu', batch_size=2, num_workers=0)
    result, = run(other, tmp_path / 'out', [moved], tissue_only=None)
    assert result.error is None and result.skipped


def test_results_of_an_older_version_are_finished(inferencer, tmp_path):
    source = write_picture(tmp_path / 'cells.png')
    first, = run(inferencer, tmp_path / 'out', [source])
    path = tmp_path / 'out/cells_summary.json'
    summary = {key: value for key, value in first.summary.items() if key != 'files'}
    summary['settings'] = dict(
        inferencer.older_settings, input='cells.png', bytes=source.stat().st_size,
        mpp=0.5, tissue_only=None)
    path.write_text(json.dumps(summary))
    again, = run(inferencer, tmp_path / 'out', [source])
    assert again.error is None and again.skipped
    more, = run(inferencer, tmp_path / 'out', [source], formats=['csv'])
    assert more.error is None and not more.skipped
    run(inferencer, tmp_path / 'at_once', [source], formats=['csv'])
    name = 'cells_centroids.csv'
    assert contents(tmp_path / 'out')[name] == contents(tmp_path / 'at_once')[name]
    change_pixel(source)
    shutil.copyfile(write_picture(tmp_path / 'x.png', 310), source)
    other, = run(inferencer, tmp_path / 'out', [source])
    assert 'bytes=' in str(other.error)


OWN = b'{"type": "FeatureCollection", "features": []}'


@pytest.mark.parametrize('name', [
    'cells.geojson', 'cells.parquet', 'cells_overlay.png', 'cells_summary.json'])
def test_files_of_others_stay(inferencer, tmp_path, name):
    source = write_picture(tmp_path / 'cells.png')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / name).write_bytes(OWN)
    result, = run(inferencer, tmp_path / 'out', [source])
    assert isinstance(result.error, FileExistsError) and name in str(result.error)
    assert contents(tmp_path / 'out') == {name: OWN}


@pytest.mark.parametrize('name, formats, report', [
    ('cells_centroids.csv', ['csv'], False), ('cells_report.html', [], True)])
def test_files_of_others_are_not_taken_for_added_ones(
        inferencer, tmp_path, name, formats, report):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    (tmp_path / 'out' / name).write_bytes(OWN)
    result, = run(inferencer, tmp_path / 'out', [source], formats=formats,
                  report=report)
    assert isinstance(result.error, FileExistsError) and name in str(result.error)
    assert contents(tmp_path / 'out')[name] == OWN


@pytest.mark.parametrize('name', ['cells.geojson', 'cells.parquet'])
def test_results_that_somebody_has_changed_stay(inferencer, tmp_path, name):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'out', [source])
    (tmp_path / 'out' / name).write_bytes(OWN)
    again, = run(inferencer, tmp_path / 'out', [source])
    assert again.skipped  # nothing is to be written
    if name != 'cells.parquet':
        (tmp_path / 'out/cells.parquet').unlink()
    result, = run(inferencer, tmp_path / 'out', [source], formats=['geojson', 'csv'])
    assert isinstance(result.error, FileExistsError) and name in str(result.error)
    assert contents(tmp_path / 'out')[name] == OWN


@pytest.mark.parametrize('suffix', ['.geojson', '_overlay.png', '_summary.json'])
def test_an_interruption_while_files_are_written_is_no_obstacle(
        inferencer, tmp_path, monkeypatch, suffix):
    source = write_picture(tmp_path / 'cells.png')
    run(inferencer, tmp_path / 'whole', [source])
    real = os.replace

    def replace(part, path):
        if str(path).endswith(f'cells{suffix}'):
            raise KeyboardInterrupt
        real(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', replace)
        with pytest.raises(KeyboardInterrupt):
            run(inferencer, tmp_path / 'out', [source])
    assert (tmp_path / 'out/cells.bands.part').is_dir()
    # A killed process leaves these.
    (tmp_path / 'out/.123.cells.csv').touch()  # of no input
    (tmp_path / f'out/.123.cells{suffix}').touch()
    result, = run(inferencer, tmp_path / 'out', [source])
    assert result.error is None
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole') | {
        '.123.cells.csv': b''}
