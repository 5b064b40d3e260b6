# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.structures import PixelData
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ..evaluation.functional import instance_classes
from .drawing import draw_instance_map, draw_panels, enlarge, panel_scale


@VISUALIZERS.register_module()
class CellVisualizer(SegLocalVisualizer):
    """Outlines nuclei in class colours, ground truth beside prediction.

    Class names and colours come from `dataset_meta`, which the runner sets from the
    data set.

    Args:
        name: Name of the instance.
        *args: Positional arguments of `Visualizer`: image, vis_backends, save_dir.
        classes: Class names, background first.
        palette: One colour per class, RGB 0-255.
        dataset_name: Data set of MMSegmentation whose class names and colours are taken
            where `classes` or `palette` is missing.
        **kwargs: Other arguments of `SegLocalVisualizer`.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        *args,
        classes: Sequence[str] | None = None,
        palette: Sequence | None = None,
        dataset_name: str | None = None,
        **kwargs,
    ):
        super().__init__(name, *args, **kwargs)
        # SegLocalVisualizer hands classes and palette on in swapped order.
        self.set_dataset_meta(classes, palette, dataset_name)

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: SegDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        with_labels: bool = True,
        with_image: bool = False,
        **kwargs,
    ) -> None:
        """Draws one sample; shows it, writes it to a file or gives it to the backends.

        Args:
            name: Name of the image.
            image: RGB image, (H, W, 3) uint8, 0-255.
            data_sample: Ground truth (`gt_inst_map` and `gt_sem_seg`) and prediction
                (`pred_inst_map` and `pred_instances`), in px of `image`.
            draw_gt: Draw the ground truth.
            draw_pred: Draw the prediction.
            show: Open a window.
            wait_time: How long it stays open, s.
            out_file: File to write instead of using the backends.
            step: Step that the backends record.
            with_labels: Draw titles and legend.
            with_image: Put the bare image first.
            **kwargs: Arguments of other versions of MMSegmentation; not used.
        """
        layers = self._collect(data_sample, draw_gt, draw_pred)
        drawn = self._draw(np.asarray(image), layers, with_labels, with_image)
        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(drawn), out_file)
        else:
            self.add_image(name, drawn, step)

    def _collect(
        self, data_sample: SegDataSample | None, draw_gt: bool, draw_pred: bool
    ) -> list:
        """Returns (title, inst_map, classes of its instances) of each panel."""
        layers = []
        if draw_gt and data_sample is not None and 'gt_inst_map' in data_sample:
            inst_map = _to_map(data_sample.gt_inst_map)
            sem_seg = _to_map(data_sample.gt_sem_seg)
            classes, _ = instance_classes(inst_map, sem_seg)
            layers.append(('Ground truth', inst_map, classes))
        if draw_pred and data_sample is not None and 'pred_inst_map' in data_sample:
            inst_map = _to_map(data_sample.pred_inst_map)
            classes = np.asarray(data_sample.pred_instances.labels, dtype=int)
            layers.append(('Prediction', inst_map, classes))
        return layers

    def _draw(
        self, image: np.ndarray, layers: list, with_labels: bool, with_image: bool
    ) -> np.ndarray:
        """Draws one panel per layer, or the bare image without layers; RGB."""
        palette = self.dataset_meta['palette']
        scale = panel_scale(image)
        panels = []
        if with_image or not layers:
            panels.append(('Image', enlarge(image, scale)))
        for title, inst_map, classes in layers:
            drawing = draw_instance_map(image, inst_map, classes, palette, scale)
            panels.append((f'{title}: {len(classes)} nuclei', drawing))
        if not with_labels or not layers:
            return np.concatenate([drawing for _, drawing in panels], axis=1)
        return draw_panels(panels, self._legend(layers))

    def _legend(self, layers: list) -> list:
        """Returns (class name with its counts, colour) per class, no background."""
        names, palette = self.dataset_meta['classes'], self.dataset_meta['palette']
        counts = [np.bincount(layer[2], minlength=len(names)) for layer in layers]
        return [
            (f'{names[i]} ' + ' / '.join(str(count[i]) for count in counts), palette[i])
            for i in range(1, len(names))
        ]


def _to_map(field: PixelData) -> np.ndarray:
    """Returns the (1, H, W) field as an (H, W) int32 array."""
    return np.asarray(field.cpu().data)[0].astype(np.int32)
