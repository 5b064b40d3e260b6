# Copyright (c) CellVTA-MMSeg contributors.
"""A model folder, written and taken by the tools."""
import json

import cv2
import pytest
import torch
from huggingface_hub import constants
from mmengine.runner import Runner
from rule_segmentor import draw_slide
from run_tool import run_tool

from mmseg_cellvta.publishing import publish_model
from mmseg_cellvta.utils.plain_loading import plain_loading


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'region.png'
    cv2.imwrite(str(path), draw_slide(150, 130)[0][..., ::-1])
    return path


def infer(*args):
    return run_tool('infer.py', *args, '--mpp', 0.5, '--device', 'cpu', '--num-workers',
                    0, '--batch-size', 2, '--quiet')


def test_from_training_to_cells_by_one_folder(rule_model, image, tmp_path, capsys):
    (tmp_path / 'metrics.json').write_text('{"cell/mPQ": 0.5}')
    assert run_tool('publish_model.py', *rule_model, tmp_path / 'nuclei', '--scores',
                    tmp_path / 'metrics.json', '--licence', 'cc-by-4.0') == 0
    assert 'complete README.md where it says so' in capsys.readouterr().out
    manifest = json.loads((tmp_path / 'nuclei/model.json').read_text())
    assert manifest['scores'] == {'cell/mPQ': 0.5}
    assert infer(tmp_path / 'nuclei', image, '--out', tmp_path / 'folder') == 0
    assert infer(*rule_model, image, '--out', tmp_path / 'pair') == 0
    for name in ('region.geojson', 'region.parquet'):
        assert (tmp_path / 'folder' / name).read_bytes() == (
            tmp_path / 'pair' / name).read_bytes()


def test_infer_takes_a_name_on_a_hub(published, hub, image, tmp_path):
    hub.repositories['lab/nuclei'] = {
        path.name: path.read_bytes() for path in published.path.iterdir()}
    assert infer('hf://lab/nuclei@v1', image, '--out', tmp_path / 'hub') == 0
    assert infer(published.path, image, '--out', tmp_path / 'folder') == 0
    assert (tmp_path / 'hub/region.parquet').read_bytes() == (
        tmp_path / 'folder/region.parquet').read_bytes()


@pytest.mark.parametrize(('name', 'said'), [
    ('hf://lab/none', 'hf://lab/none: no such model'),
    ('empty', 'empty: no model.json in it; expected a model folder')])
def test_what_is_no_model_is_one_sentence(hub, image, tmp_path, name, said):
    (tmp_path / 'empty').mkdir()
    model = name if '://' in name else tmp_path / name
    code = infer(model, image, '--out', tmp_path / 'out')
    assert said in code and not (tmp_path / 'out').exists()


def test_a_model_without_inputs_is_said(published, tmp_path, capsys):
    assert infer(published.path, '--out', tmp_path / 'out') == 2
    assert 'expected CONFIG CHECKPOINT or MODEL, and' in capsys.readouterr().err


def test_options_change_the_config_of_a_folder(published, image, tmp_path):
    code = infer(published.path, image, '--out', tmp_path / 'out', '--cfg-options',
                 'model.post_processor.marker=x')
    assert 'did you mean markers' in code
    assert infer(published.path, image, '--out', tmp_path / 'out', '--cfg-options',
                 'model.post_processor.min_confidence=0.9') == 0
    summary = json.loads((tmp_path / 'out/region_summary.json').read_text())
    assert summary['settings']['model']['post_processor']['min_confidence'] == 0.9


@pytest.mark.parametrize('tool', ['infer.py', 'test.py'])
def test_a_gated_encoder_without_a_token_is_one_sentence(
        frozen_model, hub, image, tmp_path, monkeypatch, tool):
    folder = publish_model(*frozen_model, tmp_path / 'nuclei')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'empty'))
    hub.gated.add('lab/tiny')
    code = infer(folder.path, image, '--out', tmp_path / 'out') if tool == 'infer.py' \
        else run_tool('test.py', folder.path, '--work-dir', tmp_path / 'work')
    assert code.startswith('error: ') and len(code.splitlines()) == 1
    assert 'ask for access at https://huggingface.co/lab/tiny' in code


@pytest.fixture
def built(monkeypatch):
    """Configs that a tool gives to a Runner."""
    configs = []

    def from_cfg(cfg):
        configs.append(cfg)
        raise SystemExit(0)

    monkeypatch.setattr(Runner, 'from_cfg', from_cfg)
    return configs


@pytest.mark.parametrize('on_hub', [False, True])
def test_test_and_load_from_take_a_folder(
        rule_model, published, hub, tmp_path, built, on_hub):
    hub.repositories['lab/nuclei'] = {
        path.name: path.read_bytes() for path in published.path.iterdir()}
    model = 'hf://lab/nuclei' if on_hub else published.path
    work = '--work-dir', tmp_path / 'work'
    run_tool('test.py', model, *work)
    run_tool('test.py', rule_model[0], model, *work)
    run_tool('train.py', rule_model[0], *work, '--cfg-options', f'load_from={model}')
    assert len(built) == 3
    for cfg in built:
        with plain_loading():
            weights = torch.load(cfg.load_from)['state_dict']
        assert weights.keys() == torch.load(rule_model[1])['state_dict'].keys()
        assert cfg.model.type == 'RuleSegmentor'


def test_test_wants_a_checkpoint_after_a_config(rule_model, capsys):
    assert run_tool('test.py', rule_model[0]) == 2
    assert 'expected a checkpoint after the config' in capsys.readouterr().err


@pytest.mark.parametrize(('scores', 'said'), [
    ('[1]', 'expected an object of numbers'), ('{"mPQ": "good"}', 'of numbers'),
    ('{', 'of numbers')])
def test_scores_are_checked_before_the_work(rule_model, tmp_path, scores, said):
    (tmp_path / 'metrics.json').write_text(scores)
    code = run_tool('publish_model.py', *rule_model, tmp_path / 'nuclei', '--scores',
                    tmp_path / 'metrics.json')
    assert said in code and not (tmp_path / 'nuclei').exists()
