# Copyright (c) CellVTA-MMSeg contributors.
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.runner import Runner
from mmseg.registry import DATA_SAMPLERS

from mmseg_cellvta.datasets import CoNICDataset, sampler
from mmseg_cellvta.datasets.sampler import cell_weights, joint_weights, tissue_weights

PIPELINE = [dict(type='LoadCellImage'), dict(type='PackCellInputs')]
GAMMA = 0.85
# Published counts of PanNuke: images that show each class, and images of each tissue.
IMAGES_PER_CLASS = [4191, 4132, 6140, 232, 1528]
IMAGES_PER_TISSUE = {
    'Adrenal_gland': 437, 'Bile-duct': 420, 'Bladder': 146, 'Breast': 2351,
    'Cervix': 293, 'Colon': 1440, 'Esophagus': 424, 'HeadNeck': 384, 'Kidney': 134,
    'Liver': 224, 'Lung': 184, 'Ovarian': 146, 'Pancreatic': 195, 'Prostate': 182,
    'Skin': 187, 'Stomach': 146, 'Testis': 196, 'Thyroid': 226, 'Uterus': 186}
# Which classes occur together in the images of PanNuke's first fold, by tissue.
FOLD1 = Path(__file__).parents[1] / 'data' / 'pannuke_fold1_classes.json'


@pytest.fixture
def dataset(conic_dir):
    """Eight patches, of which only the last shows class 1."""
    labels = np.load(conic_dir / 'labels.npy')
    labels[7, 12:16, 12:16] = 9, 1
    np.save(conic_dir / 'labels.npy', labels)
    return CoNICDataset(data_root=str(conic_dir), pipeline=PIPELINE)


def build(dataset, **kwargs):
    cfg = dict(type='CellWeightedSampler', seed=0, **kwargs)
    return DATA_SAMPLERS.build(cfg, default_args=dict(dataset=dataset))


def draws(sampler, epochs=400):
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        yield from sampler


def test_images_are_drawn_as_often_as_they_weigh(dataset):
    sampler = build(dataset, strategy='cell')
    shares = np.bincount(list(draws(sampler)), minlength=8) / (8 * 400)
    expected = (sampler.weights / sampler.weights.sum()).numpy()
    np.testing.assert_allclose(shares, expected, atol=0.02)
    assert expected[7] > 1.2 * expected[0]


def test_epochs_differ_and_repeat_by_seed(dataset):
    first, second = (build(dataset, strategy='cell') for _ in range(2))
    epochs = [list(draws(sampler, 2)) for sampler in (first, second)]
    assert epochs[0] == epochs[1] and len(epochs[0]) == 16
    assert epochs[0][:8] != epochs[0][8:]


def test_processes_share_an_epoch_without_repeating_each_other(dataset, monkeypatch):
    whole = list(build(dataset, strategy='cell'))
    parts = []
    for rank in range(3):
        monkeypatch.setattr(
            sampler, 'get_dist_info', lambda rank=rank: (rank, 3))
        parts.append(list(build(dataset, strategy='cell')))
    assert [len(part) for part in parts] == [3, 3, 3]
    joined = [index for row in zip(*parts, strict=True) for index in row]
    assert joined[:8] == whole


def test_published_counts_replace_those_of_the_data_set(dataset):
    alike = build(dataset, strategy='cell', images_per_class=[1] * 6)
    counted = build(dataset, strategy='cell')
    assert alike.weights[7] / alike.weights[0] < counted.weights[7] / counted.weights[0]


def test_one_tissue_makes_no_difference(dataset):
    cell, joint = (build(dataset, strategy=strategy).weights
                   for strategy in ('cell', 'cell+tissue'))
    np.testing.assert_allclose(joint, 1 + cell / cell.max())
    np.testing.assert_allclose(build(dataset, strategy='tissue').weights, 1)


def test_wrapped_data_sets_are_weighed_entry_by_entry(dataset):
    single = build(dataset, strategy='cell').weights
    for wrapped in (RepeatDataset(dataset, 2), ConcatDataset([dataset, dataset])):
        weights = build(wrapped, strategy='cell').weights
        np.testing.assert_allclose(weights, np.tile(single, 2))


def test_a_dataloader_of_mmengine_takes_it(dataset):
    loader = Runner.build_dataloader(
        dict(dataset=dataset, batch_size=4, num_workers=0, collate_fn=dict(
            type='pseudo_collate'),
             sampler=dict(type='CellWeightedSampler', strategy='cell')), seed=1)
    assert [len(batch['inputs']) for batch in loader] == [4, 4]


def test_labels_that_were_not_read_are_an_error(conic_dir):
    dataset = CoNICDataset(
        data_root=str(conic_dir), pipeline=PIPELINE, validate_labels=False)
    with pytest.raises(ValueError, match='validate_labels=True'):
        build(dataset, strategy='cell')


def test_an_image_without_tissue_is_an_error(conic_dir):
    dataset = CoNICDataset(data_root=str(conic_dir), tissue=None)
    with pytest.raises(ValueError, match="no tissue.*strategy='cell'"):
        build(dataset, strategy='tissue')


@pytest.mark.parametrize('wrong', [dict(strategy='cells'),
                                   dict(strategy='cell', gamma=2)])
def test_wrong_argument_is_an_error(dataset, wrong):
    with pytest.raises(ValueError, match='strategy=|gamma='):
        build(dataset, **wrong)


def fold1():
    """Tissues and class masks of every combination that the fold holds."""
    pairs = [(tissue, mask) for tissue, masks in json.loads(FOLD1.read_text()).items()
             for mask in masks]
    present = np.array([[bit == '1' for bit in mask] for _, mask in pairs])
    return [tissue for tissue, _ in pairs], present


def test_class_weights_are_the_published_ones():
    weights = cell_weights(np.eye(5), IMAGES_PER_CLASS, GAMMA)
    expected = np.array([2.7057, 2.7285, 2.1200, 6.1669, 4.3467])
    np.testing.assert_allclose(weights, 0.15 + GAMMA * expected, atol=1e-4)


def test_pannuke_fold_1_has_the_181_published_weights():
    tissues, present = fold1()
    weights = joint_weights(
        cell_weights(present, IMAGES_PER_CLASS, GAMMA),
        tissue_weights(tissues, IMAGES_PER_TISSUE, GAMMA))
    distinct = np.unique(weights.round(9))
    assert len(distinct) == 181
    assert (distinct[0].round(4), distinct[-1].round(4)) == (0.5558, 1.9432)


def test_an_image_without_nuclei_weighs_as_the_least_of_the_others():
    weights = cell_weights([[0, 0], [1, 0], [0, 1]], [90, 10], GAMMA)
    assert weights[0] == weights[1] < weights[2]
    np.testing.assert_array_equal(cell_weights(np.zeros((3, 2)), [1, 1], GAMMA), 1)


def test_an_uncounted_tissue_is_named():
    with pytest.raises(ValueError, match="tissue 'c' is not among .*'a', 'b'"):
        tissue_weights(['a', 'c'], dict(a=1, b=2), GAMMA)
