# Copyright (c) CellVTA-MMSeg contributors.
import json
from pathlib import Path

import numpy as np
import pytest

from mmseg_cellvta.datasets.sampler import cell_weights, joint_weights, tissue_weights

GAMMA = 0.85
# Published counts of PanNuke: images that show each class, and images of each tissue.
IMAGES_PER_CLASS = [4191, 4132, 6140, 232, 1528]
IMAGES_PER_TISSUE = {
    'Adrenal_gland': 437, 'Bile-duct': 420, 'Bladder': 146, 'Breast': 2351,
    'Cervix': 293, 'Colon': 1440, 'Esophagus': 424, 'HeadNeck': 384, 'Kidney': 134,
    'Liver': 224, 'Lung': 184, 'Ovarian': 146, 'Pancreatic': 195, 'Prostate': 182,
    'Skin': 187, 'Stomach': 146, 'Testis': 196, 'Thyroid': 226, 'Uterus': 186}
# Which classes occur together in the images of PanNuke's first fold, by tissue.
FOLD1 = Path(__file__).parents[2] / 'data' / 'pannuke_fold1_classes.json'


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


def test_gamma_0_weighs_all_images_alike():
    tissues, present = fold1()
    weights = joint_weights(
        cell_weights(present, IMAGES_PER_CLASS, 0),
        tissue_weights(tissues, IMAGES_PER_TISSUE, 0))
    np.testing.assert_allclose(weights, 2)


def test_the_rarer_class_and_tissue_weigh_more():
    by_cell = cell_weights([[1, 0], [0, 1], [1, 1]], [90, 10], GAMMA)
    assert by_cell[0] < by_cell[1] < by_cell[2]
    common, rare = tissue_weights(['a', 'b'], dict(a=90, b=10), GAMMA)
    assert common < rare


def test_an_image_without_nuclei_weighs_as_the_least_of_the_others():
    weights = cell_weights([[0, 0], [1, 0], [0, 1]], [90, 10], GAMMA)
    assert weights[0] == weights[1] < weights[2]


def test_images_without_any_nucleus_weigh_alike():
    np.testing.assert_array_equal(cell_weights(np.zeros((3, 2)), [1, 1], GAMMA), 1)


def test_an_uncounted_tissue_is_named():
    with pytest.raises(ValueError, match="tissue 'c' is not among .*'a', 'b'"):
        tissue_weights(['a', 'c'], dict(a=1, b=2), GAMMA)
