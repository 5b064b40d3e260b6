# Copyright (c) CellVTA-MMSeg contributors.
"""Scores of nuclei in MMSegmentation's test loop: instances, and classes alone."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import DATASETS, METRICS

from ..datasets.cell_dataset import CellDataset
from ..exports.writers import GeoJsonWriter
from ..structures import CellTable, SlideInfo
from ..structures.cell_table import nucleus_outlines, ring_polygons
from ..utils.names import check_class_names, check_image_names
from .exchange import write_label_map
from .functional import (
    ImageScore,
    check_figure_names,
    class_f1,
    format_table,
    instance_classes,
    score_image,
    summarize,
    summarize_tissues,
    write_metrics,
)

IGNORE = 'ignore'  # in place of a shared class
RADIUS_UM = 3.0  # HoVer-Net's 12 px at 40x and 6 px at 20x


class ClassScoreMetric(BaseMetric):
    """Base of the metrics with figures of each class: checks what they are called."""

    default_prefix = 'cell'

    @property
    def dataset_meta(self) -> dict | None:
        """Classes and palette of the data set."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Gets them before the first image.

        Raises:
            ValueError: When figures would replace each other.
        """
        check_class_names(dataset_meta['classes'], 'classes of the data set')
        self._dataset_meta = dataset_meta
        check_figure_names(self.scored_names())

    def scored_names(self) -> Sequence[str]:
        """Returns the classes that have figures, without background."""
        return self.dataset_meta['classes'][1:]


@METRICS.register_module()
class CellInstanceMetric(ClassScoreMetric):
    """Panoptic quality, detection F1, AJI and Dice of nuclei.

    :func:`mmseg_cellvta.evaluation.functional.summarize` names and defines the metrics.
    The class of a ground truth nucleus is the one that most of its pixels have in
    `gt_sem_seg`. Scores are fractions, 0-1.

    Args:
        radius_px: Largest distance between the centroids of a ground truth nucleus and
            its detection, px of the original image. None: 3 µm by the `mpp` of each
            image, which is 12 px at 40x and 6 px at 20x.
        output_dir: Folder for `<sample_name>.geojson` of every image (QuPath) and, at
            the end, `metrics.json`, which also holds the scores of each tissue.
        keep_results: Given by MMSegmentation's `tools/test.py --out` along with
            `output_dir`. Files in `output_dir` are always kept.
        format_only: Only write files, for images without annotation.
        label_maps: Also write `<sample_name>.npy` of every image, int32 (H, W, 2),
            instance ids and class ids, which `tools/analysis_tools/export_arrays.py`
            reads.
        class_maps: Scores a model that was trained on another data set in the classes
            that both share: `pred_dataset`, registered name of that data set,
            `pred_map` and `true_map` as :class:`ClassMapping` takes them
            (`configs/_base_/class_maps.py`). None: the classes are the same.
        collect_device: 'cpu' or 'gpu', see `BaseMetric`.
        prefix: Prefix of the metric names. None: 'cell'.
        **kwargs: Further arguments of `BaseMetric`.

    Raises:
        ValueError: When arguments contradict each other or a value is out of range.
    """

    def __init__(self,
                 radius_px: float | None = None,
                 output_dir: str | None = None,
                 keep_results: bool = False,
                 format_only: bool = False,
                 label_maps: bool = False,
                 class_maps: dict | None = None,
                 collect_device: str = 'cpu',
                 prefix: str | None = None,
                 **kwargs) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, **kwargs)
        if format_only and output_dir is None:
            raise ValueError('format_only=True writes files and scores nothing: '
                             'set output_dir to the folder for them')
        if label_maps and output_dir is None:
            raise ValueError('label_maps=True writes a file for each image: set '
                             'output_dir, or --out of tools/test.py, to the folder')
        if radius_px is not None and radius_px <= 0:
            raise ValueError(f'radius_px={radius_px}: expected more than 0 px')
        if class_maps is not None:
            _check_pred_dataset(class_maps['pred_dataset'])
        self.radius_px = radius_px
        self.format_only = format_only
        self.label_maps = label_maps
        self.class_maps = class_maps
        self._image_of_name: dict[str, tuple] = {}
        self.output_dir = None if output_dir is None else Path(output_dir)
        if self.output_dir is not None:
            self.output_dir.mkdir(parents=True, exist_ok=True)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Scores and writes each image of a batch, one record per image.

        Args:
            data_batch: Not used.
            data_samples: Data samples with annotation and prediction, as dictionaries.

        Raises:
            ValueError: When a sample has no annotation, or one of another size or with
                unknown classes; or when another image has left files of its name.
        """
        for sample in data_samples:
            # A record even without score: MMEngine warns about an empty list.
            self.results.append(None if self.format_only else self._score(sample))
            if self.output_dir is not None:
                self._write(sample)

    def compute_metrics(self, results: list[ImageScore | None]) -> dict[str, float]:
        """Sums up the records of all images.

        Args:
            results: One record per image.

        Returns:
            Scores by metric name without prefix; empty with `format_only`.
        """
        if self.output_dir is not None:
            print_log(f'nuclei of {len(results)} images are in {self.output_dir}',
                      logger='current')
        if self.format_only:
            return {}
        names = self.scored_names()
        metrics = summarize(results, names)
        print_log('\n' + format_table(metrics, names), logger='current')
        if self.output_dir is not None:
            write_metrics(self.output_dir / 'metrics.json',
                          metrics | summarize_tissues(results))
        return metrics

    def scored_names(self) -> Sequence[str]:
        """Returns the classes that have figures, without background."""
        if self.class_maps is not None:
            return self._class_mapping().names
        return super().scored_names()

    def _write(self, sample: dict) -> None:
        name, instances = sample['sample_name'], sample['pred_instances']
        image = sample.get('img_path'), sample.get('img_index')
        check_image_names([name], str(self.output_dir))
        if self._image_of_name.setdefault(name, image) != image:
            raise ValueError(
                f'{self.output_dir}: {name!r} is the name of several images, the last '
                f'is {image[0]}; rename it, or test one data set at a time, each with '
                'its own folder')
        meta = self._pred_meta()
        info = SlideInfo(
            name=name, shape=tuple(sample['pred_inst_map']['data'].shape[-2:]),
            mpp=sample.get('mpp'), classes=tuple(meta['classes']),
            palette=tuple(meta['palette']))
        with GeoJsonWriter(self.output_dir / f'{name}.geojson', info) as writer:
            writer.write(_cell_table(instances))
        if self.label_maps:
            write_label_map(
                self.output_dir / f'{name}.npy', _label_map(sample, 'pred_inst_map'),
                np.asarray(instances['labels'], dtype=np.int64))

    def _score(self, sample: dict) -> ImageScore:
        name = sample['sample_name']
        if 'gt_inst_map' not in sample or 'gt_sem_seg' not in sample:
            raise ValueError(
                f'{name}: the data sample has no annotation (gt_inst_map, gt_sem_seg). '
                'Put LoadCellAnnotations into test_pipeline, or set format_only=True '
                'if the images have none')
        true = _label_map(sample, 'gt_inst_map')
        pred = _label_map(sample, 'pred_inst_map')
        if true.shape != pred.shape:
            raise ValueError(
                f'{name}: annotation of {true.shape} and prediction of {pred.shape} '
                '(rows, columns) px. Both must have the size of the original image: '
                'load annotations after Resize in test_pipeline')
        true_classes, _ = instance_classes(true, _label_map(sample, 'gt_sem_seg'))
        pred_classes = np.asarray(sample['pred_instances']['labels'], dtype=np.int64)
        self._check_classes(name, true_classes, pred_classes)
        num_classes = len(self.dataset_meta['classes'])
        if self.class_maps is not None:
            mapping = self._class_mapping()
            true_classes = mapping.map_true(true_classes)
            pred_classes = mapping.map_pred(pred_classes)
            num_classes = 1 + len(mapping.names)
        return score_image(
            true, pred, true_classes, pred_classes, num_classes=num_classes,
            radius_px=self._radius_px(sample), tissue=sample.get('tissue'))

    def _check_classes(self, name: str, true_classes: np.ndarray,
                       pred_classes: np.ndarray) -> None:
        """Blames annotation or checkpoint for a class that its data set lacks."""
        for what, ids, classes, fix in (
                ('annotated', true_classes, self.dataset_meta['classes'],
                 'correct the labels or `metainfo.classes`'),
                ('predicted', pred_classes, self._pred_meta()['classes'],
                 'set num_classes={} in the model and use a checkpoint that was '
                 'trained with it')):
            if ids.max(initial=0) >= len(classes):
                raise ValueError(
                    f'{name}: {what} class id {ids.max()}, but the data set lists '
                    f'{len(classes)} classes, 0 ({classes[0]}) to {len(classes) - 1}: '
                    + fix.format(len(classes)))

    def _pred_meta(self) -> dict:
        """Returns class names and colours of the model."""
        if self.class_maps is None:
            return self.dataset_meta
        return DATASETS.get(self.class_maps['pred_dataset']).METAINFO

    def _class_mapping(self) -> ClassMapping:
        return ClassMapping(
            self._pred_meta()['classes'], self.dataset_meta['classes'],
            self.class_maps['pred_map'], self.class_maps['true_map'])

    def _radius_px(self, sample: dict) -> float:
        if self.radius_px is not None:
            return self.radius_px
        if sample.get('mpp') is None:
            raise ValueError(
                f'{sample["sample_name"]}: the radius of a detection is {RADIUS_UM} '
                'µm, but the data sample has no mpp (µm/px). Set mpp in the data set, '
                'or radius_px in the metric (12 at 40x, 6 at 20x)')
        return RADIUS_UM / sample['mpp']


@METRICS.register_module()
class CellClassMetric(ClassScoreMetric):
    """F1 and accuracy of a cell classifier on detected nuclei.

    Nuclei that were missed do not count; `CellInstanceMetric` scores whole images.
    Scores are fractions, 0-1: `macro_F1`, the mean over the classes that occur;
    `F1_<class>`; and `accuracy`.

    Args:
        collect_device: 'cpu' or 'gpu', see `BaseMetric`.
        prefix: Prefix of the metric names. None: 'cell'.
        **kwargs: Further arguments of `BaseMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keeps the `gt_label` and `pred_label` of each nucleus."""
        self.results += [
            (nucleus['gt_label'], nucleus['pred_label']) for nucleus in data_samples]

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Returns scores by metric name from the pairs of all nuclei."""
        true, pred = np.array(results, dtype=np.int64).T
        names = self.dataset_meta['classes']
        by_class = class_f1(true, pred, len(names))
        scores = zip(names[1:], by_class.tolist(), strict=True)
        return dict(
            macro_F1=float(np.nanmean(by_class)),
            accuracy=float((true == pred).mean()),
            **{f'F1_{name}': score for name, score in scores})


class ClassMapping:
    """Maps predicted and true classes to the classes that both can tell apart.

    A class that either side ignores, or that the other side never becomes, is left out
    on both: its nuclei become class 0, which counts for the scores without class only.
    So a nucleus that is left out in the ground truth and predicted as a shared class is
    a false positive of that class; a shared one predicted as a left-out class is
    missed.

    Args:
        pred_classes: Class names of the model, background first.
        true_classes: Class names of the data set, background first.
        pred_map: Shared class, or 'ignore', of each class of the model but the
            background.
        true_map: The same of the data set.

    Attributes:
        names: Shared classes, in the order of `true_map`; the first one has id 1.

    Raises:
        ValueError: When a map names a class that does not exist, or leaves one out, or
            nothing is shared.
    """

    def __init__(self, pred_classes: Sequence[str], true_classes: Sequence[str],
                 pred_map: Mapping[str, str], true_map: Mapping[str, str]) -> None:
        _check_class_map('pred_map', pred_map, pred_classes[1:])
        _check_class_map('true_map', true_map, true_classes[1:])
        shared = set(pred_map.values()) & set(true_map.values()) - {IGNORE}
        self.names = list(dict.fromkeys(
            name for name in true_map.values() if name in shared))
        if not self.names:
            raise ValueError(
                f'pred_map leads to {sorted(set(pred_map.values()))}, true_map to '
                f'{sorted(set(true_map.values()))}: no class is in both')
        self._pred_ids = self._shared_ids(pred_classes, pred_map)
        self._true_ids = self._shared_ids(true_classes, true_map)

    def map_pred(self, class_ids: np.ndarray) -> np.ndarray:
        """Returns shared class ids of predicted nuclei (N,), 0 for left out."""
        return self._pred_ids[class_ids]

    def map_true(self, class_ids: np.ndarray) -> np.ndarray:
        """Returns shared class ids of true nuclei (N,), 0 for left out."""
        return self._true_ids[class_ids]

    def _shared_ids(self, classes: Sequence[str],
                    mapping: Mapping[str, str]) -> np.ndarray:
        ids = {name: index for index, name in enumerate(self.names, 1)}
        return np.array([0] + [ids.get(mapping[name], 0) for name in classes[1:]])


def _check_class_map(role: str, mapping: Mapping[str, str],
                     classes: Sequence[str]) -> None:
    unknown = [name for name in mapping if name not in classes]
    missing = [name for name in classes if name not in mapping]
    if unknown or missing:
        raise ValueError(
            f'{role}: unknown classes {unknown}, missing classes {missing}; expected '
            f'each of {list(classes)} once, with a shared class or {IGNORE!r}')


def _cell_table(instances: dict) -> CellTable:
    """Turns the predicted nuclei of an image into a table, in px of the image."""
    outlines = nucleus_outlines(instances['contours'])
    area_px = shapely.area(ring_polygons(outlines)).astype(np.float32)
    return CellTable(
        # From the middle of the first pixel to its corner, as the outlines.
        centroids=np.asarray(instances['centroids']) + 0.5,
        labels=instances['labels'], scores=instances['scores'],
        class_probs=instances['class_probs'], outlines=outlines,
        features=dict(area_px=area_px))


def _label_map(sample: dict, key: str) -> np.ndarray:
    """Returns the (H, W) numpy map of a (1, H, W) tensor on any device."""
    return sample[key]['data'].squeeze(0).cpu().numpy()


def _check_pred_dataset(name: str) -> None:
    known = sorted(
        known for known, kind in DATASETS.module_dict.items()
        if issubclass(kind, CellDataset) and 'classes' in kind.METAINFO)
    if name not in known:
        raise ValueError(f'pred_dataset={name!r}: no data set of nuclei with classes; '
                         f'known are {known}')
