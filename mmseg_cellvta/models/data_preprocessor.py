# Copyright (c) CellVTA-MMSeg contributors.
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

PADDED_FIELDS = ('gt_inst_map', 'gt_hv_map')  # besides `gt_sem_seg`


@MODELS.register_module()
class CellDataPreProcessor(SegDataPreProcessor):
    """MMSegmentation's preprocessor, which also pads the instance and HV maps.

    It takes the same arguments. Padding is background in every map, so `seg_pad_val` is
    0 unless given. Nothing waits for the device but copies of memory that is not pinned
    (`pin_memory` of the data loader).
    """

    def __init__(self, *args, seg_pad_val: int = 0, bgr_to_rgb: bool = False,
                 rgb_to_bgr: bool = False, **kwargs) -> None:
        both = bgr_to_rgb and rgb_to_bgr  # MMSegmentation refuses it
        super().__init__(*args, seg_pad_val=seg_pad_val, bgr_to_rgb=both,
                         rgb_to_bgr=both, **kwargs)
        self._non_blocking = True
        # MMSegmentation swaps channels by a list, which is copied to the device.
        self.swap_channels = bgr_to_rgb or rgb_to_bgr

    def forward(self, data: dict, training: bool = False) -> dict:
        """Casts, normalises, pads and stacks a batch; see `SegDataPreProcessor`."""
        data = self.cast_data(data)
        if self.swap_channels:
            data['inputs'] = [
                image.flip(0) if len(image) == 3 else image for image in data['inputs']]
        data = super().forward(data, training)
        if training:
            for sample in data['data_samples']:
                padding = tuple(sample.metainfo['padding_size'])
                for name in PADDED_FIELDS:
                    if name in sample and any(padding):
                        field = sample.get(name)
                        padded = F.pad(field.data, padding)
                        del field.data
                        field.data = padded
        return data

    def normalize_tiles(self, tiles: Tensor) -> Tensor:
        """Does with a batch of tiles what `forward` does with images, all at once.

        Args:
            tiles: (N, H, W, 3) uint8 RGB, 0-255, H and W multiples of 16, on the device
                of the model.

        Returns:
            (N, 3, H, W) float32, channels-last in memory.
        """
        inputs = (tiles if self.swap_channels else tiles.flip(-1)).float()
        if self._enable_normalize:
            inputs.sub_(self.mean.flatten()).div_(self.std.flatten())
        return inputs.permute(0, 3, 1, 2)
