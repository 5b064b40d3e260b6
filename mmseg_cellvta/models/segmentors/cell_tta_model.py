# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import torch
from mmengine.model import BaseTTAModel
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor


@MODELS.register_module()
class CellTTAModel(BaseTTAModel):
    """Test-time augmentation that averages maps and finds nuclei once.

    Every flipped view is turned back, the HV maps' signs with it, before the mean is
    taken. Nuclei of the single views are never computed.
    """

    @torch.no_grad()
    def test_step(self, data: dict) -> SampleList:
        """Predicts a batch of views.

        Args:
            data: `inputs` and `data_samples`, each a list per view of lists per
                picture, as mmcv's `TestTimeAug` and `pseudo_collate` make them.
        """
        views = []
        for inputs, data_samples in zip(
                data['inputs'], data['data_samples'], strict=True):
            batch = self.module.data_preprocessor(
                dict(inputs=inputs, data_samples=data_samples), False)
            views.append(self.module.predict_maps(**batch))
        return self.merge_preds(views, data['data_samples'][0])

    def merge_preds(self, views: list, data_samples: SampleList) -> SampleList:
        """Averages each picture's maps over the views and completes its sample.

        Args:
            views: What `predict_maps` returns, per view.
            data_samples: Samples to be completed.
        """
        maps = [_mean(same) for same in zip(*views, strict=True)]
        return self.module.postprocess_result(maps, data_samples)


def _mean(views: Sequence):
    """Mean of tensors, or of each of the tensors in tuples."""
    if isinstance(views[0], Tensor):
        return torch.stack(views).mean(0)
    return tuple(_mean(part) for part in zip(*views, strict=True))
