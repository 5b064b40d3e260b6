# Copyright (c) CellVTA-MMSeg contributors.
from .overlaps import Overlaps, contingency, instance_centroids, instance_classes
from .scores import (
    DetectionScore,
    ImageScore,
    PanopticQuality,
    aggregated_jaccard,
    aggregated_jaccard_plus,
    binary_dice,
    binary_panoptic_quality,
    class_f1,
    class_panoptic_quality,
    ensemble_dice,
    match_centroids,
    panoptic_quality,
    score_detection,
    score_image,
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
