# Copyright (c) CellVTA-MMSeg contributors.
from .class_scores import class_f1
from .detection import DetectionScore, match_centroids, score_detection
from .image_score import ImageScore, score_image
from .instances import instance_centroids, instance_classes
from .overlaps import Overlaps, contingency
from .pixel_scores import (
    aggregated_jaccard,
    aggregated_jaccard_plus,
    binary_dice,
    ensemble_dice,
)
from .scores import (
    PanopticQuality,
    binary_panoptic_quality,
    class_panoptic_quality,
    panoptic_quality,
)
from .summary import format_table, summarize, summarize_tissues, write_metrics

__all__ = [
    'DetectionScore', 'ImageScore', 'Overlaps', 'PanopticQuality',
    'aggregated_jaccard', 'aggregated_jaccard_plus', 'binary_dice',
    'binary_panoptic_quality', 'class_f1', 'class_panoptic_quality', 'contingency',
    'ensemble_dice', 'format_table', 'instance_centroids', 'instance_classes',
    'match_centroids', 'panoptic_quality', 'score_detection', 'score_image',
    'summarize', 'summarize_tissues', 'write_metrics',
]
