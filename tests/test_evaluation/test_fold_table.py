# Copyright (c) CellVTA-MMSeg contributors.
import csv
import json
import math

import pytest

from mmseg_cellvta.datasets import CoNICDataset, PanNukeCellDataset
from mmseg_cellvta.evaluation.fold_table import (
    FIGURES,
    FoldTable,
    Published,
    read_metrics,
    read_published,
)


@pytest.fixture
def write(tmp_path):
    """Write figures as a metrics.json; returns its path."""

    def write_file(name, **figures):
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps(
            {f'cell/{key}': value for key, value in figures.items()}))
        return path

    return write_file


def cells(markdown, label):
    start = f'| {label} |'
    (line,) = [line for line in markdown.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.split('|')[2:-1]]


def test_a_column_per_fold_their_mean_and_published_ones(write):
    paths = [write(f'm{i}', mPQ=0.5 + i / 100, bPQ=0.25) for i in range(3)]
    table = FoldTable(paths, dict(Other=Published('a paper', dict(mPQ='0.516'))))
    text = table.to_markdown()
    assert cells(text, 'All nuclei') == [
        'averaging', 'fold 1', 'fold 2', 'fold 3', 'mean', 'Other']
    assert cells(text, 'mPQ') == [
        'mean over images', '0.5000', '0.5100', '0.5200', '0.5100', '0.516']
    assert cells(text, 'bPQ')[-2:] == ['0.2500', '']
    assert f'- fold 2: {paths[1]}' in text and '- Other: a paper' in text


def test_what_is_not_known_is_empty_and_never_zero(write):
    """A mean over some of the folds would not be comparable."""
    paths = [write('a', mPQ=0.5, bPQ=0.0, PQ_x=None), write('b', bPQ=0.5, PQ_x=0.5)]
    paths[0].write_text(paths[0].read_text().replace('0.0', 'NaN'))
    text = FoldTable(paths).to_markdown()
    assert cells(text, 'mPQ')[1:] == ['0.5000', '', '']
    assert cells(text, 'bPQ')[1:] == ['', '0.5000', '']
    assert cells(text, 'x')[1:] == ['', '0.5000 / –', '']


def test_zero_is_a_figure(write):
    assert cells(FoldTable([write('a', mPQ=0)]).to_markdown(), 'mPQ')[1] == '0.0000'


def test_classes_and_tissues_have_rows_that_say_how_they_are_averaged(write):
    path = write('a', mPQ=0.5, PQ_conic=0.9, PQ_x=0.25, F1_det=0.9, F1_x=0.5,
                 mPQ_tissue=0.6, mPQ_tissue_Skin=0.125, bPQ_tissue_Skin=0.75)
    text = FoldTable([path]).to_markdown()
    assert cells(text, 'mPQ_tissue')[0] == 'mean over tissues'
    assert cells(text, 'F1_det')[0] == 'pooled over the data set'
    assert cells(text, 'x') == [
        'mean over images with the class / pooled over the data set', '0.2500 / 0.5000',
        '0.2500 / 0.5000']
    assert cells(text, 'Skin')[:2] == [
        'mean over images of the tissue', '0.1250 / 0.7500']
    assert 'conic' not in text


def test_csv_has_one_figure_a_line_with_all_digits(write):
    path = write('a', mPQ=1 / 3, PQ_x=0.25, F1_x=None, mPQ_tissue_Skin=0.125)
    rows = list(csv.reader(FoldTable([path, path]).to_csv().splitlines()))
    assert rows == [
        ['figure', 'averaging', 'fold 1', 'fold 2', 'mean'],
        ['mPQ', 'mean over images', *[repr(1 / 3)] * 3],
        ['PQ_x', 'mean over images with the class', *['0.25'] * 3],
        ['F1_x', 'pooled over the data set', '', '', ''],
        ['mPQ_tissue_Skin', 'mean over images of the tissue', *['0.125'] * 3],
        ['bPQ_tissue_Skin', 'mean over images of the tissue', '', '', '']]


def test_files_of_different_classes_are_refused_with_both_lists(write):
    paths = [write('a', PQ_x=0.5, PQ_y=0.5), write('b', PQ_x=0.5)]
    with pytest.raises(ValueError, match=r'b.json: .* classes x, but .*a.json x, y'):
        FoldTable(paths)
    with pytest.raises(ValueError, match=r'a.json: .* classes x, y, but .*\(none\)'):
        FoldTable([write('c', mPQ=0.5), paths[0]])


@pytest.mark.parametrize('text, message', [
    ('{', 'not JSON'), ('[1]', 'holds no cell/<name>'),
    ('{"mIoU": 1}', 'holds no cell/'),
    ('{"cell/mPQ": "high"}', "cell/mPQ is 'high'; expected a number")])
def test_other_files_are_refused_by_name(tmp_path, text, message):
    (tmp_path / 'm.json').write_text(text)
    with pytest.raises(ValueError, match=f'm.json: {message}'):
        read_metrics(tmp_path / 'm.json')
    with pytest.raises(FileNotFoundError, match='none.json: no such file'):
        read_metrics(tmp_path / 'none.json')


def test_null_is_read_as_nan(write):
    assert math.isnan(read_metrics(write('a', mPQ=None))['mPQ'])


@pytest.mark.parametrize('data_set', ['pannuke', 'conic'])
def test_published_figures_have_our_names(data_set):
    dataset = dict(pannuke=PanNukeCellDataset, conic=CoNICDataset)[data_set]
    classes = dataset.METAINFO['classes'][1:]
    names = {*FIGURES, *(f'{kind}_{name}' for kind in ('PQ', 'F1') for name in classes)}
    for method in read_published(data_set).values():
        assert method.source
        others = method.figures.keys() - names
        assert all('PQ_tissue_' in name for name in others)
        assert all(0 < float(value) < 1 for value in method.figures.values())
    assert names - {'mPQ_plus', 'AJI', 'mPQ_tissue', 'bPQ_tissue'} <= (
        read_published(data_set)['CellVTA'].figures.keys())


def test_published_means_are_those_of_the_published_splits():
    """Means of rounded splits may be off by one in the last digit."""
    for method in read_published('pannuke').values():
        for name, splits in method.splits.items():
            digits = len(method.figures[name]) - 2
            mean = sum(map(float, splits)) / 3
            assert float(method.figures[name]) == pytest.approx(
                mean, abs=1.01 * 10**-digits), name


def test_the_papers_figures_are_means_over_images():
    """0.506 and 0.538 are quoted in the paper; CellViT's own paper quotes 0.498."""
    pannuke, conic = read_published('pannuke'), read_published('conic')
    assert pannuke['CellVTA'].figures['mPQ'] == '0.5063'
    assert pannuke['CellVTA'].figures['mPQ_tissue'] == '0.5086'
    assert pannuke['CellViT-SAM-H'].figures['mPQ_tissue'] == '0.4980'
    assert conic['CellVTA'].figures['mPQ'] == '0.5379'
    tissues = [name for name in pannuke['CellVTA'].figures if 'bPQ_tissue_' in name]
    assert len(tissues) == 19


def test_tissues_of_the_published_table_average_to_its_tissue_mean():
    figures = read_published('pannuke')['CellVTA'].figures
    for name in ('mPQ', 'bPQ'):
        values = [float(value) for key, value in figures.items()
                  if key.startswith(f'{name}_tissue_')]
        assert sum(values) / 19 == pytest.approx(
            float(figures[f'{name}_tissue']), abs=1e-3)
