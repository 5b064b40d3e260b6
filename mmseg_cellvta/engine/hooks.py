# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ..datasets.transforms import LoadCellImage


@HOOKS.register_module()
class CellVisualizationHook(Hook):
    """Draws nuclei while validating and testing.

    Takes the place of ``SegVisualizationHook`` as ``default_hooks.visualization``,
    where ``tools/test.py --show`` and ``--show-dir`` look for it. In addition it
    draws patches that live inside an ``images.npy``. Pictures go to
    ``<save_dir>/vis_data/vis_image/``.

    Args:
        draw (bool): Whether to draw at all. Defaults to False.
        interval (int): In validation, draw the first sample of every
            ``interval``-th batch, beginning with the first batch. In testing every
            sample is drawn. Defaults to 50.
        show (bool): Whether to open a window instead of writing files.
            Defaults to False.
        wait_time (float): How long each window stays open, in seconds; 0 waits for
            a key. Defaults to 0.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        show: bool = False,
        wait_time: float = 0.0,
    ):
        self.draw = draw
        self.interval = interval
        self.show = show
        self.wait_time = wait_time

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Draw the first sample of every ``interval``-th validation batch."""
        if self.draw and batch_idx % self.interval == 0:
            self._draw(outputs[0], 'val', step=runner.iter)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Draw all samples."""
        if self.draw:
            for data_sample in outputs:
                self._draw(data_sample, 'test', step=0)

    def _draw(self, data_sample: SegDataSample, mode: str, step: int) -> None:
        place = {
            key: data_sample.get(key)
            for key in ('img_path', 'img_index', 'sample_name')
            if key in data_sample
        }
        picture = LoadCellImage().transform(place)
        Visualizer.get_current_instance().add_datasample(
            f'{mode}_{picture["sample_name"]}',
            picture['img'][..., ::-1],
            data_sample=data_sample,
            show=self.show,
            wait_time=self.wait_time,
            step=step,
        )
