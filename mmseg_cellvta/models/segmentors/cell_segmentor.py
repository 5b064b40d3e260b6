# Copyright (c) CellVTA-MMSeg contributors.
import itertools

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS, TASK_UTILS
from mmseg.structures import SegDataSample
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor

from mmseg_cellvta.utils.tiling import blend_weight, tile_starts

from ..decode_heads.hover_decode_head import NP_CHANNELS, split_maps
from ..encoders import find_encoder

FLIP_DIMS = dict(horizontal=-1, vertical=-2)
# Which HV channel a flip turns around: x for horizontal, y for vertical.
FLIP_SIGN_CHANNEL = dict(horizontal=NP_CHANNELS, vertical=NP_CHANNELS + 1)


@MODELS.register_module()
class CellSegmentor(EncoderDecoder):
    """An encoder-decoder whose result is nuclei.

    Whole inference is that of MMSegmentation; in sliding windows, overlapping maps are
    blended. The maps of the whole picture are taken apart into nuclei at once, at the
    resolution of the network, so that no nucleus is cut or found twice at a seam, and
    the nuclei are brought to the pixels of the original picture (`ori_shape`).

    What follows from the encoder need not be written: without `mean` and `std` the data
    preprocessor normalises as in the encoder's own pre-training, and without
    `in_channels` the decode head takes those of the backbone.

    Args:
        backbone: Config of the backbone.
        data_preprocessor: Config of the data preprocessor.
        post_processor: Config of a post-processor; it gets `num_classes` from the
            decode head.
        **kwargs: Arguments of `EncoderDecoder`.
    """

    def __init__(self,
                 backbone: dict,
                 *args,
                 data_preprocessor: dict | None = None,
                 post_processor: dict = dict(type='HoverPostProcessor'),
                 **kwargs) -> None:
        super().__init__(
            backbone,
            *args,
            data_preprocessor=_normalize_as_encoder(data_preprocessor, backbone),
            **kwargs)
        self.post_processor = TASK_UTILS.build(
            dict(post_processor, num_classes=self.num_classes))

    def _init_decode_head(self, decode_head: dict) -> None:
        if 'in_channels' not in decode_head:
            decode_head = dict(
                decode_head, in_channels=[3, *self.backbone.out_channels])
        super()._init_decode_head(decode_head)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns the picture itself, for the head's first skip, and all features."""
        return (inputs, *super().extract_feat(inputs))

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Finds the nuclei of a batch.

        Args:
            inputs: (N, 3, H, W) normalised pictures.
            data_samples: Samples to be completed; None for new ones.

        Returns:
            Samples with `pred_inst_map`, `pred_sem_seg` and `pred_instances`.
        """
        if data_samples is None:
            meta = dict(ori_shape=inputs.shape[2:], img_shape=inputs.shape[2:])
            data_samples = [SegDataSample(metainfo=meta) for _ in inputs]
        return self.postprocess_result(
            self.predict_maps(inputs, data_samples), data_samples)

    def predict_maps(self, inputs: Tensor, data_samples: SampleList) -> list[Tensor]:
        """Computes each picture's maps, without padding and as if never flipped.

        Returns:
            A (4 + num_classes, H, W) float32 tensor per picture; see `split_maps`.
        """
        metas = [sample.metainfo for sample in data_samples]
        batch_maps = self.inference(inputs, metas)
        return [
            _unflip(_unpad(maps, meta), meta)
            for maps, meta in zip(batch_maps, metas, strict=True)
        ]

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Computes the maps tile by tile and blends them where tiles overlap.

        A tile counts less towards its border, where the network sees only one side of
        a nucleus. `test_cfg` says `crop_size` and `stride`, (rows, columns) px.

        Args:
            inputs: (N, 3, H, W) normalised pictures.
            batch_img_metas: Metainfo of the pictures.

        Returns:
            (N, 4 + num_classes, H, W) maps.
        """
        size = [min(pair) for pair in zip(
            self.test_cfg.crop_size, inputs.shape[2:], strict=True)]
        stride = [min(pair) for pair in zip(self.test_cfg.stride, size, strict=True)]
        weight = torch.from_numpy(blend_weight(size, stride)).to(inputs)
        total = inputs.new_zeros(len(inputs), self.out_channels, *inputs.shape[2:])
        weights = inputs.new_zeros(inputs.shape[2:])
        tops, lefts = (
            tile_starts(*axis) for axis in zip(
                inputs.shape[2:], size, stride, strict=True))
        for top, left in itertools.product(tops, lefts):
            window = slice(top, top + size[0]), slice(left, left + size[1])
            tile = inputs[(..., *window)]
            metas = [dict(meta, img_shape=tile.shape[2:]) for meta in batch_img_metas]
            total[(..., *window)] += weight * self.encode_decode(tile, metas)
            weights[window] += weight
        return total / weights

    def postprocess_result(self, maps: list[Tensor],
                           data_samples: SampleList) -> SampleList:
        """Turns each picture's maps into nuclei and adds them to its sample."""
        arrays = [[part.cpu().numpy() for part in split_maps(m)] for m in maps]
        shapes = [sample.metainfo['ori_shape'][:2] for sample in data_samples]
        results = self.post_processor.process_batch(arrays, shapes)
        for sample, (inst_map, instances) in zip(data_samples, results, strict=True):
            classes = np.concatenate([[0], instances.labels]).astype(np.int64)
            sample.pred_inst_map = PixelData(data=torch.from_numpy(inst_map)[None])
            sample.pred_sem_seg = PixelData(
                data=torch.from_numpy(classes[inst_map])[None])
            sample.pred_instances = instances
        return data_samples


def _normalize_as_encoder(data_preprocessor: dict | None,
                          backbone: dict) -> dict | None:
    if not isinstance(data_preprocessor, dict) or 'mean' in data_preprocessor or (
            'encoder' not in backbone):
        return data_preprocessor
    entry = find_encoder(backbone['encoder']['name'])
    return dict(data_preprocessor, mean=entry.mean, std=entry.std)


def _unpad(maps: Tensor, meta: dict) -> Tensor:
    left, right, top, bottom = meta.get('img_padding_size',
                                        meta.get('padding_size', (0, 0, 0, 0)))
    height, width = maps.shape[-2:]
    return maps[:, top:height - bottom, left:width - right]


def _unflip(maps: Tensor, meta: dict) -> Tensor:
    if not meta.get('flip'):
        return maps
    direction = meta['flip_direction']
    maps = maps.flip(FLIP_DIMS[direction])
    # A nucleus seen in a mirror has its centre on the other side.
    maps[FLIP_SIGN_CHANNEL[direction]] *= -1
    return maps
