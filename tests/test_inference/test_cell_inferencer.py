# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from rule_segmentor import draw_slide
from scipy.spatial import cKDTree

from mmseg_cellvta.inference import CellInferencer


def assert_found(cells, centres, classes, tolerance):
    """Every drawn nucleus once, at its place, with its class."""
    distance, drawn = cKDTree(centres).query(cells.centroids)
    assert len(cells) == len(centres) == len(np.unique(drawn))
    assert distance.max() < tolerance
    np.testing.assert_array_equal(cells.labels, classes[drawn])


@pytest.mark.parametrize('mpp', [0.25, 0.5, 0.8])
def test_cells_of_an_array_lie_in_its_own_pixels(inferencer, mpp):
    picture, centres, classes = draw_slide(700, 500)
    cells = inferencer(picture, mpp=mpp)
    assert_found(cells, centres, classes, tolerance=1.0)
    area_px = np.median(cells.features['area_um2']) / mpp**2
    assert area_px == pytest.approx(441, rel=0.06)  # px that OpenCV draws


def test_a_file_gives_the_cells_of_its_array(inferencer, tmp_path):
    picture, *_ = draw_slide(300, 200)
    cv2.imwrite(str(tmp_path / 'cells.png'), picture[..., ::-1])
    of_array = inferencer(picture, mpp=0.5)
    of_file = inferencer(tmp_path / 'cells.png', mpp=0.5)
    np.testing.assert_array_equal(of_file.centroids, of_array.centroids)


def test_a_picture_smaller_than_a_tile(inferencer):
    picture, centres, classes = draw_slide(70, 50)
    assert_found(inferencer(picture, mpp=0.5), centres, classes, tolerance=1.0)


def test_workers_find_the_same(rule_model, inferencer):
    picture, *_ = draw_slide(1500, 400)
    helped = CellInferencer(*rule_model, device='cpu', batch_size=4, num_workers=1)
    alone, found = inferencer(picture, mpp=0.5), helped(picture, mpp=0.5)
    np.testing.assert_array_equal(found.centroids, alone.centroids)


def test_pixels_of_unknown_size_are_refused(inferencer):
    with pytest.raises(ValueError, match='size of its pixels is not known.*--mpp'):
        inferencer(draw_slide(70, 50)[0])


def test_glass_is_not_looked_at_if_asked(inferencer):
    picture, centres, _ = draw_slide(900, 900)
    picture[300:] = 255
    looked = []
    network = inferencer.network
    inferencer.network = lambda tiles: looked.append(len(tiles)) or network(tiles)
    inferencer.network.num_maps, inferencer.network.token_dims = network.num_maps, 0
    everywhere = inferencer(picture, mpp=0.5, tissue_only=False)
    num_tiles = sum(looked)
    looked.clear()
    in_tissue = inferencer(picture, mpp=0.5, tissue_only=True)
    assert sum(looked) < 0.7 * num_tiles
    np.testing.assert_array_equal(in_tissue.centroids, everywhere.centroids)


def test_embeddings_are_kept_if_asked(rule_model):
    picture, *_ = draw_slide(300, 200)
    keeping = CellInferencer(*rule_model, device='cpu', batch_size=4, embeddings=True)
    cells = keeping(picture, mpp=0.5)
    assert cells.embeddings.shape == (len(cells), 32) and cells.embeddings.any()


def test_a_cell_classifier_says_what_cells_are(rule_model, tmp_path):
    """CellViT++: places of the segmentor, classes of the classifier."""
    cfg = Config.fromfile(rule_model[0])
    cfg.model.update(
        type='ReclassifyingRuleSegmentor',
        cell_classifier=dict(type='CellClassifier', num_classes=5, hidden_channels=4))
    meta = dict(classes=tuple('_abcd'), palette=[[0] * 3] * 5)
    state_dict = MODELS.build(cfg.model).state_dict()
    torch.save(dict(meta=dict(dataset_meta=meta), state_dict=state_dict),
               tmp_path / 'model.pth')
    picture, centres, _ = draw_slide(300, 200)
    inferencer = CellInferencer(cfg, tmp_path / 'model.pth', 'cpu', batch_size=4)
    cells = inferencer(picture, mpp=0.5)
    assert len(cells) == len(centres) and cells.embeddings.shape[1] == 0
    assert cells.class_probs.shape == (len(cells), 5)
    np.testing.assert_allclose(cells.class_probs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(cells.labels, cells.class_probs.argmax(axis=1))


def test_without_a_batch_size_one_is_found_and_kept(rule_model):
    inferencer = CellInferencer(*rule_model, device='cpu')
    job = inferencer.prepare(draw_slide(70 * 96, 128)[0], 0.5)
    found = inferencer.choose_batch_size(job)
    assert 1 <= found == inferencer.batch_size


def test_for_a_small_picture_no_batch_size_is_tried(rule_model, monkeypatch):
    inferencer = CellInferencer(*rule_model, device='cpu')
    monkeypatch.setattr(inferencer.network, 'find_batch_size', None)
    inferencer(draw_slide(70, 50)[0], mpp=0.5)
    assert inferencer.batch_size is None  # a large one may follow
