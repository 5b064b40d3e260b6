# Copyright (c) CellVTA-MMSeg contributors.
import json
import math
import uuid
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample

from mmseg_cellvta.datasets.cell_dataset import CellDataset
from mmseg_cellvta.evaluation import CellClassMetric, CellInstanceMetric
from mmseg_cellvta.evaluation.cell_instance_metric import ClassMapping

ROOT = Path(__file__).resolve().parents[2]
MAPS = Config.fromfile(ROOT / 'configs/_base_/class_maps.py')
PRED = 'background', 'tumour', 'healthy', 'dead', 'plasma'
PRED_MAP = dict(
    tumour='epithelial', healthy='epithelial', dead='ignore', plasma='plasma')
TRUE = 'background', 'debris', 'gland', 'immune'
TRUE_MAP = dict(debris='ignore', gland='epithelial', immune='inflammatory')
CLASSES = ('background', 'round', 'long')
META = dict(classes=CLASSES, palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0]])
# Instance -> box (top, left, bottom, right) px.
BOXES = {1: (2, 2, 12, 12), 2: (2, 20, 12, 30), 3: (20, 2, 26, 30)}
LABELS = {1: 1, 2: 1, 3: 2}
MODEL_META = dict(classes=('background', 'disc', 'rod', 'star', 'dot'),
                  palette=[[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]])
CLASS_MAPS = dict(
    pred_dataset='OtherDataset',
    pred_map=dict(disc='ignore', rod='bar', star='bar', dot='ball'),
    true_map=dict(round='ball', long='bar'))


def paint(boxes: dict, values: dict) -> torch.Tensor:
    image = torch.zeros(1, 32, 40, dtype=torch.int32)
    for number, (top, left, bottom, right) in boxes.items():
        image[:, top:bottom, left:right] = values[number]
    return image


def shifted(by: int, number: int) -> dict:
    """BOXES with one box moved to the right."""
    top, left, bottom, right = BOXES[number]
    return {**BOXES, number: (top, left + by, bottom, right + by)}


def make_sample(name: str = 'a', true: dict = BOXES, pred: dict = BOXES,
                pred_labels: dict = LABELS, **meta) -> SegDataSample:
    """A data sample as the segmentor returns it."""
    sample = SegDataSample(metainfo=dict(sample_name=name, mpp=0.5) | meta)
    ids = {number: number for number in BOXES}
    compact = {number: index for index, number in enumerate(pred, 1)}
    labels = np.array([pred_labels[number] for number in pred], dtype=np.int64)
    contours = [np.array([[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]])
                for y1, x1, y2, x2 in pred.values()]
    sample.gt_inst_map = PixelData(data=paint(true, ids))
    sample.gt_sem_seg = PixelData(data=paint(true, LABELS).long())
    sample.pred_inst_map = PixelData(data=paint(pred, compact))
    sample.pred_instances = InstanceData(
        labels=labels, scores=np.ones(len(labels)), contours=contours,
        centroids=np.array([box.mean(axis=0) for box in contours]).reshape(-1, 2),
        class_probs=np.ones((len(labels), len(CLASSES))) / len(CLASSES))
    return sample


def evaluate(*samples: SegDataSample, meta: dict = META, **kwargs) -> dict:
    """Runs the metric as the test loop does, on one batch."""
    evaluator = Evaluator(CellInstanceMetric(**kwargs))
    evaluator.dataset_meta = meta
    evaluator.process(list(samples))
    return evaluator.evaluate(len(samples))


def test_figures_of_a_known_image():
    pred = shifted(2, 1)
    del pred[2]
    metrics = evaluate(make_sample(pred=pred))
    iou = 80 / 120
    assert metrics['cell/bPQ'] == pytest.approx((iou + 1) / 2.5, abs=1e-5)
    assert metrics['cell/PQ_round'] == pytest.approx(iou / 1.5, abs=1e-5)
    assert metrics['cell/PQ_long'] == pytest.approx(1, abs=1e-5)
    assert metrics['cell/mPQ'] == pytest.approx((iou / 1.5 + 1) / 2, abs=1e-5)
    assert metrics['cell/F1_det'] == 4 / 5
    assert metrics['cell/Dice'] == pytest.approx(2 * 248 / (368 + 268))


def test_every_metric_name_is_there_as_a_python_float():
    metrics = evaluate(make_sample(tissue='Colon'))
    names = ('mPQ bPQ mDQ mSQ bDQ bSQ mPQ_tissue bPQ_tissue mPQ_plus PQ_conic PQ_round '
             'PQ_long F1_det precision_det recall_det F1_round F1_long AJI Dice')
    assert set(metrics) == {f'cell/{name}' for name in names.split()}
    assert {type(value) for value in metrics.values()} == {float}


def test_predicted_class_comes_from_the_instances():
    metrics = evaluate(make_sample(pred_labels={1: 1, 2: 2, 3: 2}))
    assert metrics['cell/bPQ'] == pytest.approx(1, abs=1e-5)
    assert metrics['cell/PQ_round'] == pytest.approx(1 / 1.5, abs=1e-5)
    assert metrics['cell/F1_round'] == 2 / (2 + 2)


@pytest.mark.parametrize('mpp, kwargs, recall', [
    (0.5, {}, 2 / 3),  # 3 µm are 6 px, the box is moved by 8 px
    (0.25, {}, 1),  # 3 µm are 12 px
    (0.5, dict(radius_px=8), 1),
    (None, dict(radius_px=7), 2 / 3),
])
def test_detection_radius_is_three_micrometres_unless_set(mpp, kwargs, recall):
    sample = make_sample(pred=shifted(8, 2), mpp=mpp)
    assert evaluate(sample, **kwargs)['cell/recall_det'] == pytest.approx(recall)


def test_images_without_truth_or_prediction_are_scored():
    metrics = evaluate(make_sample('a'), make_sample('b', true={}),
                       make_sample('c', pred={}), make_sample('d', true={}, pred={}))
    assert metrics['cell/bPQ'] == pytest.approx(0.5, abs=1e-5)
    assert metrics['cell/PQ_conic'] == pytest.approx(0.25, abs=1e-5)
    assert metrics['cell/F1_det'] == 6 / 12
    assert 'cell/bPQ_tissue' not in metrics


def test_a_data_set_with_one_class_works():
    meta = dict(classes=('background', 'nucleus'), palette=[[0, 0, 0], [255, 0, 0]])
    boxes = {1: BOXES[1], 2: BOXES[2]}
    metrics = evaluate(make_sample(true=boxes, pred=boxes), meta=meta)
    assert metrics['cell/mPQ'] == metrics['cell/PQ_nucleus'] == metrics['cell/bPQ']


def test_output_dir_gets_a_geojson_per_image_and_the_metrics(tmp_path):
    out = tmp_path / 'new' / 'out'
    metrics = evaluate(make_sample('one'), make_sample('two', pred={}),
                       output_dir=str(out), keep_results=True)
    assert {path.name for path in out.iterdir()} == {
        'one.geojson', 'two.geojson', 'metrics.json'}
    features = json.loads((out / 'one.geojson').read_text())['features']
    assert len({uuid.UUID(feature['id']) for feature in features}) == 3
    ring, = features[2]['geometry']['coordinates']
    assert shapely.Polygon(ring).equals(shapely.box(2, 20, 30, 26))
    assert features[2]['properties'] == dict(
        objectType='detection', classification=dict(name='long', color=[0, 255, 0]),
        measurements=dict(score=1, prob_background=0.3333, prob_round=0.3333,
                          prob_long=0.3333, area_px=168))
    assert json.loads((out / 'two.geojson').read_text())['features'] == []
    written = json.loads((out / 'metrics.json').read_text())
    assert written == {
        name: None if math.isnan(value) else value for name, value in metrics.items()}


def test_figures_of_tissues_are_written_but_not_logged(tmp_path):
    samples = [make_sample('a', tissue='Colon'),
               make_sample('b', tissue='Skin', pred={}),
               make_sample('c', tissue='Skin')]
    metrics = evaluate(*samples, output_dir=str(tmp_path))
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert written.keys() - metrics.keys() == {
        'cell/mPQ_tissue_Colon', 'cell/bPQ_tissue_Colon', 'cell/mPQ_tissue_Skin',
        'cell/bPQ_tissue_Skin'}
    assert written['cell/bPQ_tissue_Skin'] == pytest.approx(0.5, abs=1e-5)
    assert metrics.items() <= written.items()


def test_label_maps_hold_ids_and_the_classes_of_instances(tmp_path):
    pred = {3: BOXES[3], 1: BOXES[1]}
    evaluate(make_sample('one', pred=pred), make_sample('two', pred={}),
             output_dir=str(tmp_path), label_maps=True)
    labels = np.load(tmp_path / 'one.npy')
    assert labels.shape == (32, 40, 2) and labels.dtype == np.int32
    assert labels[22, 10].tolist() == [1, 2] and labels[5, 5].tolist() == [2, 1]
    assert not labels[0].any() and not np.load(tmp_path / 'two.npy').any()


def test_format_only_needs_no_annotation_and_scores_nothing(tmp_path):
    sample = make_sample('one')
    del sample.gt_inst_map, sample.gt_sem_seg
    assert evaluate(sample, format_only=True, output_dir=str(tmp_path)) == {}
    assert [path.name for path in tmp_path.iterdir()] == ['one.geojson']


@pytest.mark.parametrize('kwargs, error, message', [
    (dict(format_only=True), ValueError, 'set output_dir'),
    (dict(label_maps=True), ValueError, 'set output_dir, or --out of tools/test.py'),
    (dict(radius_px=0), ValueError, 'expected more than 0 px'),
    (dict(radus_px=6), TypeError, 'radus_px'),
    (dict(class_maps=CLASS_MAPS), ValueError, "pred_dataset='OtherDataset': no data "
     'set of nuclei with classes; known are .*CoNICDataset'),
])
def test_wrong_arguments_are_refused(kwargs, error, message):
    with pytest.raises(error, match=message):
        CellInstanceMetric(**kwargs)


def without_annotation() -> SegDataSample:
    sample = make_sample()
    del sample.gt_inst_map
    return sample


def with_cropped_annotation() -> SegDataSample:
    sample = make_sample()
    sample.gt_inst_map = PixelData(data=sample.gt_inst_map.data[:, :16])
    return sample


def with_annotated_class(number: int) -> SegDataSample:
    sample = make_sample()
    sample.gt_sem_seg.data[sample.gt_inst_map.data == 3] = number
    return sample


@pytest.mark.parametrize('sample, message', [
    (make_sample(pred_labels={1: 1, 2: 5, 3: 2}),
     'a: predicted class id 5, .* 3 classes.* set num_classes=3 in the model'),
    (with_annotated_class(3), 'a: annotated class id 3, .* correct the labels'),
    (without_annotation(), 'a: .* Put LoadCellAnnotations into test_pipeline'),
    (with_cropped_annotation(), r'\(16, 40\) .* \(32, 40\) .* after Resize'),
    (make_sample(mpp=None), 'a: .* no mpp .* radius_px in the metric'),
])
def test_wrong_samples_are_refused_by_name(sample, message):
    with pytest.raises(ValueError, match=message):
        evaluate(sample)


@pytest.fixture
def other_dataset(monkeypatch):
    """The data set of a model with four classes is registered."""
    dataset = type('OtherDataset', (CellDataset, ), dict(METAINFO=MODEL_META))
    monkeypatch.setitem(DATASETS.module_dict, 'OtherDataset', dataset)


def transferred(labels=None, **kwargs):
    sample = make_sample(pred_labels=labels or {1: 4, 2: 1, 3: 3})
    sample.pred_instances.class_probs = np.ones((3, 5)) / 5
    return evaluate(sample, class_maps=CLASS_MAPS, **kwargs)


def test_a_model_of_another_data_set_is_scored_in_shared_classes(other_dataset):
    metrics = transferred()
    # Every nucleus is found; the second, a ball, is called what is left out.
    assert metrics['cell/bPQ'] == pytest.approx(1, abs=1e-5)
    assert metrics['cell/F1_det'] == 1
    assert metrics['cell/PQ_bar'] == pytest.approx(1, abs=1e-5)
    assert metrics['cell/PQ_ball'] == pytest.approx(1 / 1.5, abs=1e-5)
    assert metrics['cell/mPQ'] == pytest.approx((1 + 1 / 1.5) / 2, abs=1e-5)
    assert 'cell/PQ_round' not in metrics


def test_files_of_a_transfer_have_the_classes_of_the_model(other_dataset, tmp_path):
    transferred(output_dir=str(tmp_path))
    features = json.loads((tmp_path / 'a.geojson').read_text())['features']
    assert [feature['properties']['classification']['name']
            for feature in features] == ['dot', 'disc', 'star']


def test_a_class_that_the_model_of_a_transfer_has_not_is_named(other_dataset):
    with pytest.raises(ValueError, match='predicted class id 5, but the data set lists '
                       '5 classes'):
        transferred({1: 5, 2: 1, 3: 1})


def test_figures_of_batches_are_pooled():
    evaluator = Evaluator(CellClassMetric())
    evaluator.dataset_meta = dict(classes=('background', 'round', 'long', 'rare'))
    for pairs in ([(1, 1), (1, 2)], [(2, 2)]):
        evaluator.process([dict(gt_label=t, pred_label=p) for t, p in pairs])
    metrics = evaluator.evaluate(3)
    assert math.isnan(metrics.pop('cell/F1_rare'))
    assert metrics == pytest.approx({
        'cell/macro_F1': 2 / 3, 'cell/accuracy': 2 / 3, 'cell/F1_round': 2 / 3,
        'cell/F1_long': 2 / 3})


@pytest.mark.parametrize('metric', [CellInstanceMetric, CellClassMetric])
@pytest.mark.parametrize(('classes', 'message'), [
    (('background', 'round', 'round'), "class 'round' is there twice"),
    (('background', 'round', 'Round'), "class 'Round' is there twice"),
    (('background', 'det', 'long'), "class 'det': F1_det"),
    (('background', 'round', 'conic'), "class 'conic': F1_conic and PQ_conic"),
    (('background', 'round', 'background'), "'background' is there twice")])
def test_classes_whose_figures_collide_are_refused_before_the_first_image(
        metric, classes, message):
    with pytest.raises(ValueError, match=message):
        Evaluator(metric()).dataset_meta = META | dict(classes=classes)


def test_shared_classes_whose_figures_collide_are_refused(other_dataset):
    maps = CLASS_MAPS | dict(
        pred_map=dict(disc='ignore', rod='det', star='det', dot='ball'),
        true_map=dict(round='ball', long='det'))
    with pytest.raises(ValueError, match="class 'det'"):
        Evaluator(CellInstanceMetric(class_maps=maps)).dataset_meta = META


@pytest.mark.parametrize('second', [
    dict(img_path='two/a.png'), dict(img_path='one/a.png', img_index=3)])
def test_images_of_one_name_do_not_replace_each_others_files(tmp_path, second):
    first = make_sample(img_path='one/a.png')
    with pytest.raises(ValueError, match="'a' is the name of several images, the last"):
        evaluate(first, make_sample(**second), output_dir=str(tmp_path))


def test_an_image_that_comes_again_is_written_again(tmp_path):
    again = make_sample(img_path='one/a.png')  # as in each validation
    evaluate(again, again, output_dir=str(tmp_path))
    assert (tmp_path / 'a.geojson').is_file()


@pytest.mark.parametrize('name', ['../a', 'slides/a', 'caf\udce9'])
def test_names_that_are_no_file_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match='image .*; (rename|expected)'):
        evaluate(make_sample(name), output_dir=str(tmp_path / 'out'))
    assert not list((tmp_path / 'out').iterdir())
    assert not (tmp_path / 'a.geojson').exists()


def test_classes_become_shared_ones_and_the_others_are_left_out():
    mapping = ClassMapping(PRED, TRUE, PRED_MAP, TRUE_MAP)
    assert mapping.names == ['epithelial']  # the truth has no plasma, nor pred immune
    assert mapping.map_pred(np.arange(5)).tolist() == [0, 1, 1, 0, 0]
    assert mapping.map_true(np.arange(4)).tolist() == [0, 0, 1, 0]
    assert mapping.map_pred(np.array([], int)).tolist() == []


@pytest.mark.parametrize(('pred_map', 'true_map', 'message'), [
    (PRED_MAP | dict(tumor='epithelial'), TRUE_MAP,
     r"pred_map: unknown classes \['tumor'\].*each of \['tumour', 'healthy', 'dead'"),
    (PRED_MAP, dict(gland='epithelial'),
     r"true_map: .*missing classes \['debris', 'immune'\]"),
    (PRED_MAP, dict.fromkeys(TRUE_MAP, 'ignore'), 'no class is in both')])
def test_wrong_names_are_listed_with_those_that_exist(pred_map, true_map, message):
    with pytest.raises(ValueError, match=message):
        ClassMapping(PRED, TRUE, pred_map, true_map)


@pytest.mark.parametrize(('dataset', 'name'), [
    ('CoNICDataset', 'conic_map'), ('PanNukeCellDataset', 'pannuke_map'),
    ('CoNSePDataset', 'consep_map')])
def test_the_shipped_maps_name_every_class_of_their_data_sets(dataset, name):
    classes = DATASETS.get(dataset).METAINFO['classes']
    for other in ('conic', 'pannuke', 'consep', 'monusac'):
        other_map = MAPS[f'{other}_map']
        mapping = ClassMapping(
            classes, ['background', *other_map], MAPS[name], other_map)
        assert {'epithelial', 'inflammatory'} <= set(mapping.names) <= {
            'epithelial', 'inflammatory', 'connective'}
