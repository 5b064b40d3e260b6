# Copyright (c) CellVTA-MMSeg contributors.
import json
import os
import shutil
import subprocess
import sys

import cv2
import pytest
import tenx_rules
from rule_segmentor import draw_slide
from run_tool import TOOLS, run_tool


@pytest.fixture
def source(tmp_path):
    path = tmp_path / 'in/a [x=0,y=0].png'
    path.parent.mkdir()
    cv2.imwrite(str(path), draw_slide(130, 100)[0][..., ::-1])
    return path


@pytest.fixture
def infer(rule_model, tmp_path):
    def call(*args):
        return run_tool('infer.py', *rule_model, *args, '--out', tmp_path / 'out',
                        '--mpp', 0.5, '--device', 'cpu', '--num-workers', 0)

    return call


@pytest.mark.parametrize(('options', 'said'), [
    (['--batch-size', '-1'], '-1: expected a whole number from 1 on'),
    (['--batch-size', '0'], '0: expected a whole number from 1 on'),
    (['--batch-size', '2.5'], '2.5: expected a whole number from 1 on'),
    (['--num-workers', '-2'], '-2: expected a whole number from 0 on'),
    (['--formats', 'svg'], "invalid choice: 'svg'"),
    (['--device', 'gpu'], '--device gpu: no such device; this machine has cpu'),
    (['--device', 'cuda:99'], '--device cuda:99: no such device'),
    (['--device', 'meta'], '--device meta: no such device'),
    (['--expand-um', '0'], 'expand_um=0: expected more than 0 and at most 25 µm'),
    (['--expand-um', '-3'], 'expand_um=-3: expected'),
    (['--expand-um', '26'], 'expand_um=26: expected'),
    (['--expand-um', 'nan'], 'expand_um=nan: expected'),
    (['--expand-um', 'far'], "invalid float value: 'far'"),
    (['--cfg-options', 'model.backbne.with_cp=True'], 'did you mean backbone?'),
    (['--cfg-options', 'model.post_processor.marker=x'], 'did you mean markers?'),
    (['--cfg-options', 'model.mpp'], 'expected key=value')])
def test_options_are_checked_before_the_work(
        rule_model, source, tmp_path, capsys, options, said):
    code = run_tool('infer.py', *rule_model, source, '--out', tmp_path / 'out',
                    '--mpp', 0.5, *options)
    assert code not in (0, None) and not (tmp_path / 'out').exists()
    assert said in (code if isinstance(code, str) else capsys.readouterr().err)


def test_what_is_no_folder_is_refused(rule_model, source, tmp_path):
    (tmp_path / 'out').write_text('own')
    for out in ('out', 'out/cells'):
        code = run_tool('infer.py', *rule_model, source, '--out', tmp_path / out,
                        '--mpp', 0.5)
        assert str(tmp_path / 'out') in code and 'Traceback' not in code
    assert (tmp_path / 'out').read_text() == 'own'


def test_an_address_is_no_checkpoint(rule_model, source, tmp_path):
    code = run_tool('infer.py', rule_model[0], 'https://x.org/a.pth', source, '--out',
                    tmp_path / 'out')
    assert 'expected a local file; download it first' in code


def test_a_format_that_is_named_twice_is_written_once(infer, source, tmp_path):
    assert infer(source, '--formats', 'geojson', 'geojson', 'parquet') == 0
    assert len(list((tmp_path / 'out').glob('*.geojson'))) == 1


def test_cells_are_written_for_those_who_want_them(infer, source, tmp_path):
    assert infer(source, '--expand-um', 4, '--formats', 'spaceranger', 'xenium') == 0
    name, shape = source.stem, (130, 100)
    folder = tmp_path / 'out'
    assert tenx_rules.spaceranger_geojson(folder / f'{name}_spaceranger.geojson') == []
    assert tenx_rules.spaceranger_mask(folder / f'{name}_spaceranger.tiff', shape) == []
    assert tenx_rules.xenium_geojson(
        folder / f'{name}_xenium.geojson', shape[::-1]) == []


def test_quiet_is_quiet(infer, source, tmp_path, capfd):
    assert infer(source.parent, '--quiet') == 0
    assert infer(source.parent, '--quiet') == 0
    assert capfd.readouterr() == ('', '')


def test_a_missing_path_fails_alone_and_the_end_says_so(
        infer, source, tmp_path, capfd):
    assert infer(tmp_path / 'gone.svs', source, tmp_path / 'no/*.png') == 1
    said = capfd.readouterr().err
    assert f'failed {tmp_path}/gone.svs: no image or slide there' in said
    assert f'failed {tmp_path}/no/*.png: no image or slide there' in said
    assert f'done: {source}, ' in said
    assert infer(tmp_path / 'gone.svs') == 'error: no image or slide is left to work on'


def test_another_picture_of_that_name_is_refused(infer, source, tmp_path, capfd):
    assert infer(source) == 0
    other = tmp_path / 'other' / source.name
    other.parent.mkdir()
    cv2.imwrite(str(other), draw_slide(130, 100, seed=1)[0][..., ::-1])
    before = (tmp_path / f'out/{source.stem}.geojson').read_bytes()
    assert infer(other) == 1
    assert 'the image or slide is another one' in capfd.readouterr().err
    assert (tmp_path / f'out/{source.stem}.geojson').read_bytes() == before


def test_results_beside_the_images_are_no_inputs(rule_model, source, capfd):
    for _ in range(2):
        code = run_tool('infer.py', *rule_model, source.parent, '--out', source.parent,
                        '--mpp', 0.5, '--device', 'cpu', '--num-workers', 0,
                        '--formats', 'labels')
        assert code == 0
    said = capfd.readouterr().err
    assert f'was finished: {source}, ' in said
    assert 'left out what an earlier run wrote' in said
    assert len(list(source.parent.glob('*_summary.json'))) == 1


def test_a_log_is_not_wrapped_and_agrees_with_the_summary(
        rule_model, source, tmp_path):
    deep = tmp_path / '/'.join(['a folder with a long name'] * 6)
    deep.mkdir(parents=True)
    shutil.move(source, deep)
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([
        str(TOOLS.parent), str(TOOLS.parent / 'tests')]))
    result = subprocess.run(
        [sys.executable, str(TOOLS / 'infer.py'), *map(str, rule_model), str(deep),
         '--out', str(tmp_path / 'out'), '--mpp', '0.5', '--device', 'cpu'],
        capture_output=True, text=True, env=env)
    summary = json.loads((tmp_path / f'out/{source.stem}_summary.json').read_text())
    cells, mm2 = summary['cells'], summary['seen_mm2']
    first, last, done = result.stderr.splitlines()
    assert first.endswith(f' {source.stem}: 0 of 2 tiles, 0 cells in 0.00 mm²')
    assert last.endswith(f'2 of 2 tiles, {cells} cells in {mm2:.2f} mm²')
    assert done == f'done: {deep}/{source.name}, {cells} cells in {mm2:g} mm²'
