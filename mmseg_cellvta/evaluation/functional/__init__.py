# Copyright (c) CellVTA-MMSeg contributors.
from .overlaps import Overlaps, contingency, instance_centroids, instance_classes
from .scores import (
    DetectionScore,
    ImageScore,
    PanopticQuality,
    aggregated_jaccard,
    binary_dice,
    class_f1,
    class_panoptic_quality,
    match_centroids,
    panoptic_quality,
    score_detection,
    score_image,
)
from .summary import (
    check_figure_names,
    format_table,
    summarize,
    summarize_tissues,
    write_metrics,
)

__all__ = [
    'DetectionScore', 'ImageScore', 'Overlaps', 'PanopticQuality',
    'aggregated_jaccard', 'binary_dice', 'check_figure_names', 'class_f1',
    'class_panoptic_quality', 'contingency', 'format_table', 'instance_centroids',
    'instance_classes', 'match_centroids', 'panoptic_quality', 'score_detection',
    'score_image', 'summarize', 'summarize_tissues', 'write_metrics',
]
