# Copyright (c) CellVTA-MMSeg contributors.
"""Cells found in tiles, windows and bands are those found in the whole picture."""
import cv2
import numpy as np
import pytest
import shapely
from scipy.spatial import cKDTree
from true_maps import CoordinateCanvas, TrueNetwork

from mmseg_cellvta.datasets.labels import read_mat_labels
from mmseg_cellvta.inference.seam_filter import SeamFilter
from mmseg_cellvta.inference.slide_scan import SlideScan
from mmseg_cellvta.inference.stage_clock import StageClock
from mmseg_cellvta.inference.tile_plan import plan_tiles
from mmseg_cellvta.inference.window_cells import (
    NucleusSettings,
    Window,
    find_window_cells,
)
from mmseg_cellvta.post_processing.hover_post_processor import WorkerPool
from mmseg_cellvta.post_processing.instance_map import hover_constants
from mmseg_cellvta.structures import CellTable

MPP = 0.275


def settings(mpp=MPP, scale=(1.0, 1.0)):
    return NucleusSettings(hover_constants(mpp, 'rising'), 1, mpp, scale)


def make_scan(inst_map, class_map, num_classes, band_height=512, num_workers=0):
    plan = plan_tiles(inst_map.shape, (256, 256), (32, 32), band_height, 88)
    return SlideScan(
        CoordinateCanvas(inst_map.shape), plan,
        TrueNetwork(inst_map, class_map, num_classes), settings(), 4, num_workers,
        WorkerPool(num_workers), StageClock(), progress=lambda num_tiles: None)


def find_in_bands(scan):
    seams = SeamFilter(MPP)
    return CellTable.concatenate([
        seams(band) for _, band in scan.run(range(scan.plan.num_bands))])


def find_whole(scan):
    """Of the maps of the whole slide at once."""
    height, width = scan.plan.shape
    whole = Window((0, 0, width, height), (0, 0, width, height))
    maps = scan.network.maps[:, :height, :width]
    picture = scan.canvas.read(0, 0, width, height)
    tokens = np.mgrid[:-(-height // 16), :-(-width // 16)][::-1] + 0.5
    return find_window_cells(maps, picture, tokens, whole, scan.settings)


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
    scan = make_scan(*discs((1100, 700), step=23, radius=12), 4,
                     num_workers=num_workers)
    cells, whole = find_in_bands(scan), find_whole(scan)
    assert len(cells) == len(whole) > 1400
    assert (match(cells, whole) == 1).all()
    nearest, _ = cKDTree(whole.centroids).query(cells.centroids)
    assert nearest.max() < 1e-3  # px


def test_cells_carry_the_tokens_of_their_place():
    scan = make_scan(*discs((1100, 700), step=23, radius=12), 4)
    cells = find_in_bands(scan)
    # The mean over the tokens that a nucleus' box touches lies near its centre.
    assert cells.embeddings.shape == (len(cells), 2)
    assert np.abs(cells.embeddings - cells.centroids / 16).max() < 1
    whole = find_whole(scan)
    _, partner = cKDTree(whole.centroids).query(cells.centroids)
    np.testing.assert_allclose(
        cells.embeddings, whole.embeddings[partner], atol=0.04)  # float16


def test_a_slide_without_foreground_has_no_cells_but_all_columns():
    empty = np.zeros((600, 300), np.int32)
    cells = find_in_bands(make_scan(empty, empty, 4))
    assert len(cells) == 0 and cells.class_probs.shape == (0, 4)
    assert 'area_um2' in cells.features


def test_bands_found_apart_are_those_found_in_one_go():
    labels = discs((1500, 300), step=29, radius=11)
    together = dict(make_scan(*labels, 4).run(range(0, 3)))
    for band in range(3):
        (_, alone), = make_scan(*labels, 4).run(range(band, band + 1))
        np.testing.assert_array_equal(alone.centroids, together[band].centroids)
        for ring, same in zip(alone.outlines, together[band].outlines, strict=True):
            np.testing.assert_array_equal(ring, same)


def test_real_nuclei_in_a_large_mosaic(shared_dir):
    """CoNSeP's training images side by side, 4096 x 4096 px, with their true maps."""
    side, step = 4096, 1000
    inst_map = np.zeros((side, side), np.int32)
    class_map = np.zeros((side, side), np.int32)
    paths = sorted((shared_dir / 'data/CoNSeP/Train/Labels').glob('*.mat'))
    for path, (row, col) in zip(paths, np.ndindex(5, 5), strict=False):
        window = (slice(row * step, min((row + 1) * step, side)),
                  slice(col * step, min((col + 1) * step, side)))
        ids, classes = (labels[:side - row * step, :side - col * step]
                        for labels in read_mat_labels(str(path)))
        inst_map[window] = np.where(ids > 0, ids + inst_map.max(), 0)
        class_map[window] = classes
    scan = make_scan(inst_map, class_map, 5, band_height=1024)
    cells, whole = find_in_bands(scan), find_whole(scan)
    iou = match(cells, whole)
    print(f'{len(cells)} cells in tiles, {len(whole)} whole; '
          f'{(iou >= 0.95).mean():.4%} with IoU >= 0.95, smallest {iou.min():.3f}')
    assert len(cells) == len(whole) > 8000
    assert (iou >= 0.95).mean() >= 0.995
