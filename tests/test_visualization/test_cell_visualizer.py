# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmseg_cellvta.visualization import CellVisualizer

META = dict(
    classes=('background', 'epithelial', 'plasma'),
    palette=[[0, 0, 0], [255, 0, 0], [0, 0, 255]],
)


def make_sample(gt=True, pred=True) -> SegDataSample:
    """Ground truth: one red nucleus, id 300. Prediction: one blue nucleus."""
    sample = SegDataSample()
    mask = torch.zeros(1, 64, 64, dtype=torch.int32)
    mask[:, 16:48, 16:48] = 1
    if gt:
        sample.gt_inst_map = PixelData(data=mask * 300)
        sample.gt_sem_seg = PixelData(data=mask.long())
    if pred:
        sample.pred_inst_map = PixelData(data=mask)
        sample.pred_instances = InstanceData(labels=np.array([2]))
    return sample


def count(image: np.ndarray, color: list) -> int:
    return int((image == color).all(axis=2).sum())


@pytest.fixture
def image():
    return np.full((64, 64, 3), 200, np.uint8)


@pytest.fixture
def visualizer():
    return CellVisualizer(**META)


def draw(visualizer, image, sample, **kwargs) -> np.ndarray:
    visualizer.add_datasample('name', image, sample, **kwargs)
    return visualizer.get_image()


def test_is_registered_and_accepted_by_the_inferencer():
    visualizer = VISUALIZERS.build(dict(type='mmseg.CellVisualizer', name='registered'))
    assert isinstance(visualizer, SegLocalVisualizer)


def test_classes_and_palette_are_not_swapped(visualizer):
    assert visualizer.dataset_meta == META


@pytest.mark.parametrize('gt, pred, kwargs, panels', [
    (True, True, {}, 'red blue'),
    (True, False, {}, 'red'),
    (False, True, {}, 'blue'),
    (True, True, dict(draw_gt=False), 'blue'),
    (True, True, dict(draw_pred=False), 'red'),
    (True, True, dict(with_image=True), 'bare red blue'),
    (True, True, dict(argument_of_a_later_version=True), 'red blue')])
def test_what_is_there_and_wanted_stands_side_by_side(
        visualizer, image, gt, pred, kwargs, panels):
    sample, panels = make_sample(gt, pred), panels.split()
    drawing = draw(visualizer, image, sample, with_labels=False, **kwargs)
    assert drawing.shape == (512, 512 * len(panels), 3)
    for name, panel in zip(panels, np.split(drawing, len(panels), axis=1), strict=True):
        assert (count(panel, [255, 0, 0]) > 500) is (name == 'red')
        assert (count(panel, [0, 0, 255]) > 500) is (name == 'blue')


def without_nuclei() -> SegDataSample:
    sample = make_sample()
    sample.gt_inst_map.data[:] = 0
    sample.pred_inst_map.data[:] = 0
    sample.pred_instances = InstanceData(labels=np.zeros(0, int))
    return sample


@pytest.mark.parametrize('sample, width', [
    (None, 512), (SegDataSample(), 512), (without_nuclei(), 1024)])
def test_nothing_to_draw_gives_bare_images(visualizer, image, sample, width):
    drawing = draw(visualizer, image, sample, with_labels=width == 512)
    assert drawing.shape == (512, width, 3) and (drawing == 200).all()


def test_titles_and_legend_surround_the_panels(visualizer, image):
    drawing = draw(visualizer, image, make_sample())
    assert drawing.shape[0] > 512
    # Legend swatches of both classes below the panels.
    legend = drawing[-28:]
    assert count(legend, [255, 0, 0]) > 50 and count(legend, [0, 0, 255]) > 50


def test_a_large_image_keeps_its_size(visualizer):
    image = np.zeros((600, 700, 3), np.uint8)
    assert draw(visualizer, image, None).shape == (600, 700, 3)


def test_out_file_has_the_right_colours(visualizer, image, tmp_path):
    out_file = tmp_path / 'deep' / 'cells.png'
    visualizer.add_datasample('name', image, make_sample(), out_file=str(out_file))
    written = cv2.imread(str(out_file))[..., ::-1]
    assert np.array_equal(written, visualizer.get_image())


def test_backend_writes_below_save_dir(image, tmp_path):
    visualizer = CellVisualizer(
        'writer', vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path),
        **META)
    visualizer.add_datasample('cells', image, make_sample(), step=7)
    assert (tmp_path / 'vis_data' / 'vis_image' / 'cells_7.png').is_file()
