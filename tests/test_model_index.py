# Copyright (c) CellVTA-MMSeg contributors.
"""The model zoo names what it must, and no figure that nobody has published."""
from pathlib import Path

import pytest
import yaml

from mmseg_cellvta.evaluation.fold_table import FIGURES, read_published

ROOT = Path(__file__).resolve().parents[1]
MODELS = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Models']
RESULTS = [(model['Name'], result) for model in MODELS
           for result in model.get('Results', ())]


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_a_model_names_encoder_licence_data_and_split(model):
    assert (ROOT / model['Config']).is_file()
    assert all(model['Metadata'][key] for key in (
        'Encoder', 'Encoder License', 'Training Data', 'Split'))


@pytest.mark.parametrize(('name', 'result'), RESULTS)
def test_a_figure_names_its_source_and_the_averaging_of_its_metric(name, result):
    assert result['Source'] and result['Metrics']
    assert {FIGURES[metric] for metric in result['Metrics']} == {result['Averaging']}


@pytest.mark.parametrize(('name', 'result'), RESULTS)
def test_a_figure_is_the_published_one(name, result):
    """Of the released code: the paper's method differs, and has no figures."""
    assert name.endswith('_released')
    published = read_published(result['Dataset'].lower())['CellVTA']
    for metric, value in result['Metrics'].items():
        # Of PanNuke the first split.
        first, *_ = published.splits.get(metric, [published.figures[metric]])
        assert value == float(first), metric


def test_some_figures_are_published():
    assert {name for name, _ in RESULTS} == {
        'cellvta_uni_conic_released', 'cellvta_uni_pannuke_released'}
