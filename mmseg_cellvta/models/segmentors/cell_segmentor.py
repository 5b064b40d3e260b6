# Copyright (c) CellVTA-MMSeg contributors.
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS, TASK_UTILS
from mmseg.structures import SegDataSample
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor

from ...configuration.network_scale import (
    SCALED_TO,
    announce_network_mpp,
    fill_network_mpp,
    network_mpp,
)
from ...configuration.stock_inferencer import add_stock_loader
from ...post_processing.instances import TOKEN_STRIDE
from ...utils.tile_blend import TileBlend
from ...utils.tiling import tile_starts
from ..decode_heads.hover_decode_head import NP_CHANNELS, split_maps
from ..deploy import fold_segmentor
from ..encoders import find_encoder

SCALE_TOLERANCE = 0.05  # relative; scanners of one magnification differ as much
FLIP_DIMS = dict(horizontal=(-1, ), vertical=(-2, ), diagonal=(-1, -2))
# Which HV channels a flip turns around: x for horizontal, y for vertical.
FLIP_SIGN_CHANNELS = dict(
    horizontal=[NP_CHANNELS], vertical=[NP_CHANNELS + 1],
    diagonal=[NP_CHANNELS, NP_CHANNELS + 1])


@MODELS.register_module()
class CellSegmentor(EncoderDecoder):
    """An encoder-decoder whose result is nuclei.

    Whole inference is that of MMSegmentation; in sliding windows, overlapping maps are
    blended. The maps of the whole image are taken apart into nuclei at once, at the
    resolution of the network, so that no nucleus is cut or found twice at a seam, and
    the nuclei are brought to the pixels of the original image (`ori_shape`).

    What follows from the encoder need not be written: without `mean` and `std` the data
    preprocessor normalises as in the encoder's own pre-training, and without
    `in_channels` the decode head takes those of the backbone.

    Args:
        backbone: Config of the backbone.
        mpp: µm/px at which the network sees images, in training, testing and inference;
            0.25 is 40x. Without it that of `post_processor`, as in older configs.
        data_preprocessor: Config of the data preprocessor.
        post_processor: Config of a post-processor; it gets `num_classes` from the
            decode head, and `mpp` unless it has one of its own: the released code finds
            nuclei with the sizes of another scale than that of its images.
        **kwargs: Arguments of `EncoderDecoder`.
    """

    _cfg = None
    deployed = False

    def __init__(self,
                 backbone: dict,
                 *args,
                 mpp: float | None = None,
                 data_preprocessor: dict | None = None,
                 post_processor: dict = dict(type='HoverPostProcessor'),
                 **kwargs) -> None:
        super().__init__(
            backbone,
            *args,
            data_preprocessor=_normalize_as_encoder(data_preprocessor, backbone),
            **kwargs)
        self.mpp = network_mpp(dict(mpp=mpp, post_processor=post_processor))
        announce_network_mpp(self.mpp)
        self.post_processor = TASK_UTILS.build(
            dict(dict(mpp=self.mpp) | post_processor, num_classes=self.num_classes))

    @property
    def num_result_classes(self) -> int:
        """Number of classes that nuclei can get, background included."""
        return self.num_classes

    @property
    def cfg(self) -> Config | None:
        """The whole config, which MMSegmentation's inference API keeps in the model."""
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: Config) -> None:
        # Its pipeline is built when an image comes, and another model may be by then.
        fill_network_mpp(getattr(cfg, '_cfg_dict', cfg), self.mpp)
        add_stock_loader(cfg)
        self._cfg = cfg

    def switch_to_deploy(self) -> None:
        """Turns the model, in place and for good, into its form for inference.

        It gives the same maps in less time, is in eval mode, and neither trains nor
        reads or writes a checkpoint: load one first. See `models.deploy`.
        """
        if not self.deployed:
            fold_segmentor(self)
            self.deployed = True

    def train(self, mode: bool = True) -> 'CellSegmentor':
        """Sets the mode.

        Raises:
            ValueError: For training in the form for inference.
        """
        if mode:
            self._check_not_deployed('trained')
        return super().train(mode)

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        """Returns the weights.

        Raises:
            ValueError: In the form for inference: no other model could load them.
        """
        self._check_not_deployed('saved')
        return super().state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args) -> None:
        """Refuses a checkpoint in the form for inference.

        Raises:
            ValueError: Always there; MMEngine would only warn of missing keys.
        """
        self._check_not_deployed('loaded')
        super()._load_from_state_dict(*args)

    def _check_not_deployed(self, deed: str) -> None:
        if self.deployed:
            raise ValueError(
                'after switch_to_deploy() the weights of this model are folded: they '
                f'cannot be {deed}; build the model anew, and switch it when its '
                'checkpoint is loaded')

    def _init_decode_head(self, decode_head: dict) -> None:
        if 'in_channels' not in decode_head:
            decode_head = dict(
                decode_head, in_channels=[3, *self.backbone.out_channels])
        super()._init_decode_head(decode_head)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns the image itself, for the head's first skip, and all features."""
        # Tokens are channels-last maps by nature. On a CPU such maps cost 5/6 of the
        # time; cuDNN's convolutions in half precision would turn others around.
        if inputs.device.type == 'cpu' or torch.is_autocast_enabled():
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return (inputs, *super().extract_feat(inputs))

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Computes the losses of a batch; see `EncoderDecoder`."""
        self._check_scale(data_samples)
        return super().loss(inputs, data_samples)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Finds the nuclei of a batch.

        Args:
            inputs: (N, 3, H, W) normalised images.
            data_samples: Samples to be completed; None for new ones.

        Returns:
            Samples with `pred_inst_map`, `pred_sem_seg` and `pred_instances`.

        Raises:
            ValueError: An image that says its µm/px has another scale than the network.
        """
        if data_samples is None:
            meta = dict(ori_shape=inputs.shape[2:], img_shape=inputs.shape[2:])
            data_samples = [SegDataSample(metainfo=meta) for _ in inputs]
        return self.postprocess_result(
            self.predict_maps(inputs, data_samples), data_samples)

    def predict_maps(self, inputs: Tensor, data_samples: SampleList) -> list[Tensor]:
        """Computes each image's maps, without padding and as if never flipped.

        Returns:
            A (4 + num_classes, H, W) float32 tensor per image; see `split_maps`.
        """
        self._check_scale(data_samples)
        metas = [sample.metainfo for sample in data_samples]
        batch_maps = self.inference(inputs, metas)
        return [
            _unflip(_unpad(maps, meta), meta)
            for maps, meta in zip(batch_maps, metas, strict=True)
        ]

    def predict_maps_and_tokens(
            self, inputs: Tensor,
            data_samples: SampleList) -> list[tuple[Tensor, Tensor]]:
        """Computes each image's maps, and what the encoder saw where.

        A token is a pixel of the deepest map that the backbone hands to the head. For
        CellVTA that is the map of the last ViT block, which CellViT++ takes, with the
        finest detail that the convolutional branch could add, normalised by channel. It
        exists for every backbone and costs nothing on top of the maps.

        Returns:
            For each image what `predict_maps` returns, and (D, H/16, W/16) float32
            tokens, rounded up. `cell_tokens` takes those of a nucleus.

        Raises:
            ValueError: Tiles, or a flipped image, do not lie on the grid of tokens, or
                an image has another scale than the network.
        """
        self._check_scale(data_samples)
        metas = [sample.metainfo for sample in data_samples]
        if self.test_cfg.mode == 'slide':
            batch = self._slide(
                self.encode_decode_tokens, (1, TOKEN_STRIDE), inputs, metas)
        else:
            batch = self.encode_decode_tokens(inputs, metas)
        results = []
        for maps, tokens, meta in zip(*batch, metas, strict=True):
            maps = _unflip(_unpad(maps, meta), meta)
            results.append((maps, _image_tokens(tokens, maps.shape[-2:], meta)))
        return results

    def _check_scale(self, data_samples: SampleList) -> None:
        """Refuses images that are shown at another scale than that of the network."""
        for sample in data_samples:
            shown = sample.get(SCALED_TO, sample.get('mpp'))
            if shown is not None and abs(shown / self.mpp - 1) > SCALE_TOLERANCE:
                raise ValueError(
                    f'{sample.get("sample_name", "image")}: shown to the network at '
                    f'{shown:g} µm/px, but model.mpp is {self.mpp:g}; add '
                    "dict(type='ResizeToMpp') to the pipeline, or correct model.mpp")

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Computes the maps tile by tile and blends them where tiles overlap.

        `test_cfg` says `crop_size` and `stride`, (rows, columns) px.

        Args:
            inputs: (N, 3, H, W) normalised images.
            batch_img_metas: Metainfo of the images.

        Returns:
            (N, 4 + num_classes, H, W) maps.
        """
        maps, = self._slide(
            lambda *tile: (self.encode_decode(*tile), ), (1, ), inputs, batch_img_metas)
        return maps

    def _slide(self, predict: Callable, scales: Sequence[int], inputs: Tensor,
               metas: list[dict]) -> list[Tensor]:
        """Blends the maps that `predict` gives for a tile, each 1 / scale as large."""
        size = [min(pair) for pair in zip(
            self.test_cfg.crop_size, inputs.shape[2:], strict=True)]
        stride = [min(pair) for pair in zip(self.test_cfg.stride, size, strict=True)]
        for length in (*size, *stride):
            if length % max(scales):
                raise ValueError(
                    f'tiles of {size} px every {stride} px: tokens need multiples of '
                    f'{max(scales)} px; change crop_size and stride in test_cfg')
        tops, lefts = (
            tile_starts(*axis) for axis in zip(
                inputs.shape[2:], size, stride, strict=True))
        blends = [
            TileBlend(*([px // scale for px in lengths] for lengths in (size, stride)),
                      inputs.shape[3] // scale)
            for scale in scales
        ]
        parts = [[] for _ in scales]
        for top, below in itertools.pairwise([*tops, tops[-1] + size[0]]):
            for left in lefts:
                tile = inputs[..., top:top + size[0], left:left + size[1]]
                tile_metas = [dict(meta, img_shape=tile.shape[2:]) for meta in metas]
                for blend, scale, maps in zip(
                        blends, scales, predict(tile, tile_metas), strict=True):
                    blend.add(maps, left // scale)
            for blend, scale, rows in zip(blends, scales, parts, strict=True):
                rows.append(blend.finish((below - top) // scale))
        return [torch.cat(rows, dim=-2) for rows in parts]

    def encode_decode_tokens(self, inputs: Tensor,
                             metas: list[dict]) -> tuple[Tensor, Tensor]:
        """Computes the maps of a batch, and the tokens that go with them.

        Returns:
            (N, 4 + num_classes, H, W) maps and (N, D, H/16, W/16) tokens, float32.
        """
        feats = self.extract_feat(inputs)
        maps = self.decode_head.predict(feats, metas, self.test_cfg)
        return maps, feats[self.decode_head.in_index[-1]].float()

    def postprocess_result(self, maps: list[Tensor],
                           data_samples: SampleList) -> SampleList:
        """Turns each image's maps into nuclei and adds them to its sample."""
        arrays = [[part.numpy() for part in split_maps(m.cpu())] for m in maps]
        shapes = [sample.metainfo['ori_shape'][:2] for sample in data_samples]
        results = self.post_processor.process_batch(arrays, shapes)
        for sample, (inst_map, instances) in zip(data_samples, results, strict=True):
            sample.pred_inst_map = PixelData(data=torch.from_numpy(inst_map)[None])
            sample.pred_sem_seg = paint_classes(inst_map, instances.labels)
            sample.pred_instances = instances
        return data_samples


def paint_classes(inst_map: np.ndarray, labels: np.ndarray) -> PixelData:
    """Class map (1, H, W) int64 of an instance map (H, W) and its (N,) classes."""
    classes = np.concatenate([[0], labels]).astype(np.int64)
    return PixelData(data=torch.from_numpy(classes[inst_map])[None])


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
    maps[FLIP_SIGN_CHANNELS[direction]] *= -1
    return maps


def _image_tokens(tokens: Tensor, shape: Sequence[int], meta: dict) -> Tensor:
    """Tokens that an image of (H, W) px touches, without padding and not flipped."""
    height, width = shape
    tokens = tokens[:, :-(-height // TOKEN_STRIDE), :-(-width // TOKEN_STRIDE)]
    if not meta.get('flip'):
        return tokens
    if height % TOKEN_STRIDE or width % TOKEN_STRIDE:
        raise ValueError(
            f'flipped image of {height} x {width} px: its tokens lie elsewhere; '
            f'scale it to multiples of {TOKEN_STRIDE} px, or leave out the flips')
    return tokens.flip(FLIP_DIMS[meta['flip_direction']])


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
                image, as mmcv's `TestTimeAug` and `pseudo_collate` make them.
        """
        views = []
        for inputs, data_samples in zip(
                data['inputs'], data['data_samples'], strict=True):
            batch = self.module.data_preprocessor(
                dict(inputs=inputs, data_samples=data_samples), False)
            views.append(self.module.predict_maps(**batch))
        return self.merge_preds(views, data['data_samples'][0])

    def merge_preds(self, views: list, data_samples: SampleList) -> SampleList:
        """Averages each image's maps over the views and completes its sample.

        Args:
            views: What `predict_maps` returns, per view.
            data_samples: Samples to be completed.
        """
        maps = [_mean(same) for same in zip(*views, strict=True)]
        return self.module.postprocess_result(maps, data_samples)


def _mean(views: Sequence):
    """Mean of tensors, or of each of the tensors in tuples."""
    if isinstance(views[0], Tensor):
        if len({view.shape for view in views}) > 1:
            sizes = ' and '.join(str(tuple(view.shape[-2:])) for view in views)
            raise ValueError(
                f'test-time augmentation: views of {sizes} px (rows, columns) of one '
                'image; give all the same size, as by one ResizeToMpp, and vary flips')
        return torch.stack(views).mean(0)
    return tuple(_mean(part) for part in zip(*views, strict=True))
