# Copyright (c) CellVTA-MMSeg contributors.
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import shapely
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from rule_segmentor import draw_slide
from scipy.spatial import cKDTree
from true_maps import CoordinateCanvas, TrueNetwork

from mmseg_cellvta.datasets.labels import read_mat_labels
from mmseg_cellvta.inference import CellInferencer
from mmseg_cellvta.inference.cells import (
    NucleusSettings,
    SeamFilter,
    Window,
    find_window_cells,
)
from mmseg_cellvta.inference.inferencer import InputOptions
from mmseg_cellvta.inference.network import TileNetwork
from mmseg_cellvta.inference.progress import StageClock
from mmseg_cellvta.inference.tiles import plan_tiles, window_margin
from mmseg_cellvta.inference.workers import SharedPool
from mmseg_cellvta.post_processing.instance_map import hover_constants
from mmseg_cellvta.structures import CellTable
from mmseg_cellvta.structures.cell_table import ring_polygons


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
    helped = CellInferencer(*rule_model, device='cpu', batch_size=4, num_workers=2)
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
    inferencer.network.device = network.device
    everywhere = inferencer(picture, mpp=0.5, tissue_only=False)
    num_tiles = sum(looked)
    looked.clear()
    in_tissue = inferencer(picture, mpp=0.5, tissue_only=True)
    assert sum(looked) < 0.7 * num_tiles
    np.testing.assert_array_equal(in_tissue.centroids, everywhere.centroids)


def test_embeddings_are_kept_if_asked(rule_model):
    picture, *_ = draw_slide(300, 200)
    keeping = CellInferencer(*rule_model, device='cpu', batch_size=4, num_workers=0,
                             embeddings=True)
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
    inferencer = CellInferencer(cfg, tmp_path / 'model.pth', 'cpu', 4, num_workers=0)
    cells = inferencer(picture, mpp=0.5)
    assert len(cells) == len(centres) and cells.embeddings.shape[1] == 0
    assert cells.class_probs.shape == (len(cells), 5)
    np.testing.assert_allclose(cells.class_probs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(cells.labels, cells.class_probs.argmax(axis=1))


def test_a_batch_size_is_found_for_each_size_of_a_tile(rule_model, monkeypatch):
    tried = []
    monkeypatch.setattr(TileNetwork, 'find_batch_size',
                        lambda self, tile: tried.append(tile) or 10 + len(tried))
    inferencer = CellInferencer(*rule_model, device='cpu', num_workers=0)

    def choose(height, width):
        return inferencer.choose_batch_size(
            inferencer.prepare(draw_slide(height, width)[0], 0.5))

    assert choose(70, 50) == 1  # a few tiles are done sooner than they are tried
    assert choose(70 * 96, 100) == 11
    assert choose(70 * 96, 128) == choose(80 * 96, 200) == 12
    assert choose(70 * 96, 100) == 11
    assert tried == [(128, 112), (128, 128)]


def test_the_device_is_the_one_that_mmengine_would_take(rule_model, monkeypatch):
    monkeypatch.setattr(
        'mmseg_cellvta.inference.inferencer.get_device', lambda: 'meta')
    inferencer = CellInferencer(*rule_model, num_workers=0)
    assert inferencer.network.device.type == 'meta'


def test_workers_start_before_the_model_moves_to_its_device(rule_model, monkeypatch):
    seen = []
    monkeypatch.setattr(SharedPool, 'start', lambda self: seen.append('workers'))
    monkeypatch.setattr(torch.nn.Module, 'to',
                        lambda self, *args, **kwargs: seen.append(args) or self)
    CellInferencer(*rule_model, device='cpu', num_workers=1)
    assert seen[-3:] == ['workers', 'workers', ('cpu',)]


MPP = 0.275
CONSTANTS = hover_constants(MPP, 'rising')


class TrueInferencer(CellInferencer):
    """One that needs no model: its network is always right."""

    def __init__(self, inst_map, class_map, num_classes, band_height=512,
                 num_workers=0, expand_um=None):
        self.network = TrueNetwork(inst_map, class_map, num_classes)
        self.model = SimpleNamespace(
            mpp=MPP, post_processor=SimpleNamespace(constants=CONSTANTS, enlarge=1))
        self.reclassifies, self.embeddings, self.batch_size = False, True, 4
        self.options = InputOptions(expand_um=expand_um)
        self.tile, self.clock = (256, 256), StageClock()
        self._make_pools(num_workers, self.network)
        canvas = CoordinateCanvas(inst_map.shape)
        plan = plan_tiles(canvas.shape, self.tile, (32, 32),
                          window_margin(MPP, expand_um), band_height=band_height)
        self.job = SimpleNamespace(plan=plan, canvas=canvas, in_memory=False,
                                   info=SimpleNamespace(origin=(0, 0), mpp=MPP))

    def find_bands(self, bands):
        return self.scan(self.job, bands, self.batch_size)

    def find_in_bands(self):
        seams = SeamFilter(MPP)
        return CellTable.concatenate([
            seams(cells)
            for _, cells in self.find_bands(range(self.job.plan.num_bands))])

    def find_whole(self):
        """Of the maps of the whole slide at once."""
        height, width = self.job.plan.shape
        whole = Window((0, 0, width, height), (0, 0, width, height),
                       self.network.num_maps, self.network.token_dims)
        maps = self.network.maps[:, :height, :width]
        picture = self.job.canvas.read(0, 0, width, height)
        tokens = np.mgrid[:-(-height // 16), :-(-width // 16)][::-1] + 0.5
        return find_window_cells(maps, picture, tokens, whole, NucleusSettings(
            CONSTANTS, 1, MPP, (1.0, 1.0), self.options.expand_um))


def match(cells, others):
    """IoU (N,) of each cell with the cell of `others` whose centre is nearest."""
    _, nearest = cKDTree(others.centroids).query(cells.centroids)
    assert len(np.unique(nearest)) == len(cells), 'two cells have the same partner'
    first = np.array([shapely.Polygon(ring) for ring in cells.outlines])
    second = np.array([shapely.Polygon(others.outlines[row]) for row in nearest])
    shared = shapely.area(shapely.intersection(first, second))
    return shared / (shapely.area(first) + shapely.area(second) - shared)


def discs(shape, step, radius, seed=0):
    rng = np.random.default_rng(seed)
    inst_map = np.zeros(shape, np.int32)
    centres = [(x, y) for y in range(step // 2, shape[0], step)
               for x in range(step // 2, shape[1], step)]
    for inst_id, (x, y) in enumerate(centres, start=1):
        shift_x, shift_y = rng.integers(-2, 3, 2)
        cv2.circle(inst_map, (x + int(shift_x), y + int(shift_y)), radius, inst_id, -1)
    return inst_map, 1 + inst_map % 3 * (inst_map > 0) - (inst_map == 0)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_dense_discs_are_found_once_each_whatever_seam_they_lie_on(num_workers):
    exact = TrueInferencer(*discs((1100, 700), step=23, radius=12), 4,
                     num_workers=num_workers)
    cells, whole = exact.find_in_bands(), exact.find_whole()
    assert len(cells) == len(whole) > 1400
    assert (match(cells, whole) == 1).all()
    nearest, _ = cKDTree(whole.centroids).query(cells.centroids)
    assert nearest.max() < 1e-3  # px


def assert_cells(cells, whole, expand_um):
    """Equal to those found at once, apart from each other, around their nuclei."""
    _, partner = cKDTree(whole.centroids).query(cells.centroids)
    assert len(cells) == len(whole) == len(np.unique(partner))
    for name in ('outlines', 'cell_outlines'):
        for ring, row in zip(getattr(cells, name), partner, strict=True):
            np.testing.assert_array_equal(ring, getattr(whole, name)[row])
    for name in ('cell_area_um2', 'cytoplasm_hematoxylin_od', 'cytoplasm_eosin_od'):
        np.testing.assert_array_equal(
            cells.features[name], whole.features[name][partner])
    nuclei, around = map(ring_polygons, (cells.outlines, cells.cell_outlines))
    assert shapely.is_valid(around).all() and shapely.covers(around, nuclei).all()
    first, second = shapely.STRtree(around).query(around, predicate='intersects')
    apart = first < second
    shared = shapely.intersection(around[first[apart]], around[second[apart]])
    assert len(shared) and not shapely.area(shared).any()
    points, owners = shapely.get_coordinates(around, return_index=True)
    distance = shapely.distance(nuclei[owners], shapely.points(points))
    assert distance.max() <= expand_um / MPP + 0.5


@pytest.mark.parametrize('expand_um, step', [(1.0, 26), (6.0, 34), (12.0, 100)])
def test_cells_of_bands_are_those_of_the_whole_and_do_not_overlap(expand_um, step):
    """In the last case cells meet 44 px away from their nuclei."""
    labels = discs((1100, 700), step, radius=12)
    exact = TrueInferencer(*labels, 4, band_height=256, expand_um=expand_um)
    cells = exact.find_in_bands()
    assert_cells(cells, exact.find_whole(), expand_um)
    without = TrueInferencer(*labels, 4, band_height=256).find_in_bands()
    assert without.cell_outlines is None
    assert 'cell_area_um2' not in without.features
    nearest, _ = cKDTree(without.centroids).query(cells.centroids)
    assert len(without) == len(cells) and nearest.max() < 1e-3


def test_a_slide_without_nuclei_has_no_cells_around_them():
    empty = np.zeros((600, 300), np.int32)
    cells = TrueInferencer(empty, empty, 4, expand_um=5.0).find_in_bands()
    assert cells.cell_outlines == [] and 'cell_area_um2' in cells.features


@pytest.mark.parametrize('expand_um, said', [
    (0.0, 'expand_um=0: expected more than 0'), (26.0, 'expand_um=26: .* most 25 µm'),
    (float('nan'), 'expand_um=nan')])
def test_cells_that_are_none_are_refused(rule_model, expand_um, said):
    with pytest.raises(ValueError, match=said):
        CellInferencer(*rule_model, device='cpu', expand_um=expand_um)


def test_cells_on_whose_nuclei_windows_may_disagree_are_refused(rule_model):
    cfg = Config.fromfile(rule_model[0])
    cfg.model.post_processor.markers = 'hovernet'
    with pytest.raises(ValueError, match="take model.post_processor.markers='rising'"):
        CellInferencer(cfg, rule_model[1], device='cpu', expand_um=5.0)


def test_cells_carry_the_tokens_of_their_place():
    exact = TrueInferencer(*discs((1100, 700), step=23, radius=12), 4)
    cells = exact.find_in_bands()
    # The mean over the tokens that a nucleus' box touches lies near its centre.
    assert cells.embeddings.shape == (len(cells), 2)
    assert np.abs(cells.embeddings - cells.centroids / 16).max() < 1
    whole = exact.find_whole()
    _, partner = cKDTree(whole.centroids).query(cells.centroids)
    np.testing.assert_allclose(
        cells.embeddings, whole.embeddings[partner], atol=0.04)  # float16


def test_a_slide_without_foreground_has_no_cells_but_all_columns():
    empty = np.zeros((600, 300), np.int32)
    cells = TrueInferencer(empty, empty, 4).find_in_bands()
    assert len(cells) == 0 and cells.class_probs.shape == (0, 4)
    assert 'area_um2' in cells.features


def test_bands_found_apart_are_those_found_in_one_go():
    labels = discs((1500, 300), step=29, radius=11)
    together = dict(TrueInferencer(*labels, 4).find_bands(range(0, 3)))
    for band in range(3):
        (_, alone), = TrueInferencer(*labels, 4).find_bands(range(band, band + 1))
        np.testing.assert_array_equal(alone.centroids, together[band].centroids)
        for ring, same in zip(alone.outlines, together[band].outlines, strict=True):
            np.testing.assert_array_equal(ring, same)


def consep_mosaic(shared_dir, side):
    """CoNSeP's training images side by side, `side` x `side` px: ids and classes."""
    step, num = 1000, -(-side // 1000)
    inst_map = np.zeros((side, side), np.int32)
    class_map = np.zeros((side, side), np.int32)
    paths = sorted((shared_dir / 'data/CoNSeP/Train/Labels').glob('*.mat'))
    for path, (row, col) in zip(paths, np.ndindex(num, num), strict=False):
        window = (slice(row * step, min((row + 1) * step, side)),
                  slice(col * step, min((col + 1) * step, side)))
        ids, classes = (labels[:side - row * step, :side - col * step]
                        for labels in read_mat_labels(str(path)))
        inst_map[window] = np.where(ids > 0, ids + inst_map.max(), 0)
        class_map[window] = classes
    return inst_map, class_map


def test_cells_around_real_nuclei_in_bands(shared_dir):
    exact = TrueInferencer(*consep_mosaic(shared_dir, 1400), 5, expand_um=5.0)
    assert_cells(exact.find_in_bands(), exact.find_whole(), 5.0)


def test_real_nuclei_in_a_large_mosaic(shared_dir):
    exact = TrueInferencer(*consep_mosaic(shared_dir, 4096), 5, band_height=1024)
    cells, whole = exact.find_in_bands(), exact.find_whole()
    iou = match(cells, whole)
    print(f'{len(cells)} cells in tiles, {len(whole)} whole; '
          f'{(iou >= 0.95).mean():.4%} with IoU >= 0.95, smallest {iou.min():.3f}')
    assert len(cells) == len(whole) > 8000
    assert (iou >= 0.95).mean() >= 0.995
