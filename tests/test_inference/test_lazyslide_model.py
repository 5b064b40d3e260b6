# Copyright (c) CellVTA-MMSeg contributors.
import sys
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from rule_segmentor import CLASSES, MPP, draw_slide
from scipy.ndimage import center_of_mass, find_objects
from scipy.spatial import cKDTree
from slide_files import write_slide
from tiny_models import DIMS

from mmseg_cellvta.inference.lazyslide_model import LazySlideModel
from mmseg_cellvta.post_processing import cell_tokens

FIELDS = ('probability_map', 'instance_map', 'patch_token_map', 'classes')


@pytest.fixture
def stand_in(monkeypatch):
    """LazySlide's output type without LazySlide, which takes seconds to import."""
    module = SimpleNamespace(SegmentationOutput=namedtuple('Output', FIELDS))
    monkeypatch.setitem(sys.modules, 'lazyslide_models', module)


@pytest.fixture
def lazyslide():
    return pytest.importorskip(
        'lazyslide', reason='LazySlide is not installed: pip install lazyslide')


def as_tiles(model, *pictures):
    """The batch that LazySlide makes of pictures."""
    return torch.stack([model.get_transform()(picture) for picture in pictures])


def as_lazyslide_reads(output, index):
    """Centres (N, 2) x, y px, class ids and probabilities, by LazySlide's rule."""
    inst_map = output.instance_map[index].numpy()
    ids = np.arange(1, inst_map.max() + 1)
    centres = np.array(center_of_mass(inst_map > 0, inst_map, ids))[:, ::-1] + 0.5
    means = np.array([
        output.probability_map[index][:, inst_map == i].mean(dim=1).numpy()
        for i in ids])
    return centres, means.argmax(axis=1), means.max(axis=1)


def assert_found(found_centres, found_classes, centres, classes, tolerance):
    """Every drawn nucleus once, at its place, with its class."""
    distance, drawn = cKDTree(centres).query(found_centres)
    assert len(found_centres) == len(centres) == len(np.unique(drawn))
    assert distance.max() < tolerance
    np.testing.assert_array_equal(found_classes, classes[drawn])


def test_a_batch_has_the_layout_that_lazyslide_expects(stand_in, rule_model):
    model = LazySlideModel(*rule_model)
    pictures = [draw_slide(128, 160, seed=seed)[0] for seed in (0, 1)]
    output = model.segment(as_tiles(model, *pictures))
    assert output.classes == CLASSES
    assert output.instance_map.shape == (2, 128, 160)
    assert output.instance_map.dtype == torch.int32
    assert output.probability_map.shape == (2, 3, 128, 160)
    assert output.probability_map.dtype == torch.float32
    assert output.probability_map.min() == 0 and output.probability_map.max() <= 1
    assert output.patch_token_map.shape == (2, DIMS, 8, 10)
    assert output.patch_token_map.dtype == torch.float32
    assert not output.probability_map.sum(dim=1)[output.instance_map == 0].any()


@pytest.mark.parametrize('mpp', [None, 0.25, 0.8])
def test_nuclei_lie_in_the_pixels_of_the_tile(stand_in, rule_model, mpp):
    model = LazySlideModel(*rule_model, mpp=mpp)
    assert model.mpp == (mpp or MPP)
    drawn = [draw_slide(300, 203, seed=seed) for seed in (0, 1)]
    output = model.segment(as_tiles(model, *(picture for picture, *_ in drawn)))
    assert output.instance_map.shape == (2, 300, 203)
    for index, (_, centres, classes) in enumerate(drawn):
        found, found_classes, _ = as_lazyslide_reads(output, index)
        assert_found(found, found_classes, centres, classes, tolerance=1.0)
        areas = np.bincount(output.instance_map[index].ravel())[1:]
        assert np.median(areas) == pytest.approx(441, rel=0.06)  # px that OpenCV draws


def test_the_network_sees_tiles_of_its_own_size(stand_in, rule_model, monkeypatch):
    """As tools/infer.py shows them, however large LazySlide's tiles are."""
    cfg = Config.fromfile(rule_model[0])
    cfg.model.test_cfg = dict(mode='whole')
    model = LazySlideModel(cfg, rule_model[1])
    shapes, encode_decode = [], model.model.encode_decode_tokens
    monkeypatch.setattr(
        model.model, 'encode_decode_tokens',
        lambda tile, metas: shapes.append(tile.shape) or encode_decode(tile, metas))
    output = model.segment(torch.zeros(2, 3, 480, 300, dtype=torch.uint8))
    assert output.instance_map.shape == (2, 480, 300)
    assert shapes == [(2, 3, 256, 256)] * 4


def test_a_tile_without_nuclei(stand_in, rule_model):
    model = LazySlideModel(*rule_model)
    output = model.segment(torch.full((1, 3, 64, 64), 230, dtype=torch.uint8))
    assert not output.instance_map.any() and not output.probability_map.any()


def test_a_cell_classifier_says_what_nuclei_are(stand_in, rule_model, tmp_path):
    cfg = Config.fromfile(rule_model[0])
    cfg.model.update(
        type='ReclassifyingRuleSegmentor',
        cell_classifier=dict(type='CellClassifier', num_classes=5, hidden_channels=4))
    meta = dict(classes=tuple('_abcd'), palette=[[0] * 3] * 5)
    torch.save(
        dict(meta=dict(dataset_meta=meta),
             state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'model.pth')
    model = LazySlideModel(cfg, tmp_path / 'model.pth')
    picture, centres, _ = draw_slide(128, 160)
    output = model.segment(as_tiles(model, picture))
    boxes = [(x.start, y.start, x.stop, y.stop)
             for y, x in find_objects(output.instance_map[0].numpy())]
    expected, scores, _ = model.model.classify_tokens(
        cell_tokens(output.patch_token_map[0].numpy(), boxes))
    _, labels, probs = as_lazyslide_reads(output, 0)
    assert len(labels) == len(centres) and output.classes == tuple('_abcd')
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(probs, scores, rtol=1e-5)


@pytest.mark.parametrize('mpp', [0, -0.5, 20, float('nan')])
def test_a_size_that_no_pixel_has_is_refused(stand_in, rule_model, mpp):
    with pytest.raises(ValueError, match=f'mpp={mpp}: expected µm/px'):
        LazySlideModel(*rule_model, mpp=mpp)


def test_normalised_tiles_are_refused(stand_in, rule_model):
    with pytest.raises(ValueError, match='torch.float32, expected torch.uint8 .*trans'):
        LazySlideModel(*rule_model).segment(torch.zeros(1, 3, 64, 64))


def test_without_lazyslide_one_sentence_says_what_to_install(monkeypatch, rule_model):
    monkeypatch.setitem(sys.modules, 'lazyslide_models', None)
    with pytest.raises(ImportError, match='run pip install lazyslide'):
        LazySlideModel(*rule_model)


def test_it_satisfies_the_protocol(lazyslide, rule_model):
    from lazyslide_models import SegmentationModelProtocol
    model = LazySlideModel(*rule_model)
    assert isinstance(model, SegmentationModelProtocol)
    assert model.to('cpu') is model


@pytest.mark.parametrize(('slide_mpp', 'model_mpp'), [(0.5, None), (0.8, 0.8)])
def test_lazyslide_finds_the_cells_of_a_slide(
        lazyslide, rule_model, tmp_path, slide_mpp, model_mpp):
    """Also of one coarser than the network, whose tiles LazySlide cannot enlarge."""
    picture, centres, classes = draw_slide(448, 448)  # 2 x 2 tiles
    wsi = lazyslide_slide(write_slide(tmp_path / 'slide.tif', picture, slide_mpp))
    model = LazySlideModel(*rule_model, mpp=model_mpp)
    lazyslide.pp.tile_tissues(
        wsi, 256, overlap=64, mpp=model.mpp)
    lazyslide.seg.cells(
        wsi, model=model, device='cpu', extract_features=True, compile=True)
    cells = wsi['cells']
    # Its outlines run through the pixels' centres, counted from 0.
    found = np.stack([cells.centroid.x, cells.centroid.y], axis=1) + 0.5
    names = [CLASSES.index(name) for name in cells['class']]
    assert_found(found, names, centres, classes, tolerance=1.5)
    assert wsi['cells_features'].X.shape == (len(centres), DIMS)
    assert cells.prob.between(0.99, 1).all()  # a rule is certain


def lazyslide_slide(path):
    """A slide that is tissue everywhere."""
    from geopandas import GeoDataFrame
    from shapely import box
    from spatialdata.models import ShapesModel
    from wsidata import open_wsi
    wsi = open_wsi(path)
    height, width = wsi.properties.shape
    wsi.shapes['tissues'] = ShapesModel.parse(
        GeoDataFrame(dict(tissue_id=[0]), geometry=[box(0, 0, width, height)]))
    return wsi
