# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import ToImage

from ..models.segmentors import ReclassifyingSegmentor
from ..utils.pixel_size import mpp_problem
from .network import load_segmentor, tile_geometry


class LazySlideModel:
    """A segmentor as LazySlide's ``zs.seg.cells(wsi, model=...)`` takes it.

    It satisfies LazySlide's `SegmentationModelProtocol`. LazySlide reads the tiles and
    merges their nuclei; within a tile they are found as `CellInferencer` finds them,
    in overlapping tiles of its size. LazySlide does not tell models the size of a
    pixel, so that it is given here.

    Attributes:
        model: A `CellSegmentor` in eval mode.
        name: What LazySlide calls it.
        mpp: Size that a tile's pixels must have, µm.

    Args:
        config: Config of a `CellSegmentor`.
        checkpoint: Its checkpoint.
        mpp: Size of a tile's pixels, µm; tiles are scaled to the network's and nuclei
            back. None for the network's own size.
        trust: Read objects besides tensors from the checkpoint, which can run any code.

    Raises:
        ImportError: When LazySlide is not installed.
        ValueError: When the checkpoint does not fit the config, or holds objects, or no
            pixel has the size `mpp`.

    Example:
        >>> model = LazySlideModel('config.py', 'weights.pth')
        >>> zs.pp.tile_tissues(wsi, 512, overlap=64, mpp=model.mpp)
        >>> zs.seg.cells(wsi, model=model)
    """

    name = 'mmseg_cellvta'

    def __init__(self, config: str | Path | Config, checkpoint: str | Path,
                 mpp: float | None = None, trust: bool = False) -> None:
        self._output = _output_type()
        cfg = config if isinstance(config, Config) else Config.fromfile(config)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self.model = load_segmentor(cfg, checkpoint, trust)
        # LazySlide's tiles may be larger than what the network is used to see.
        tile, overlap = tile_geometry(self.model.test_cfg)
        self.model.test_cfg.update(
            mode='slide', crop_size=tile,
            stride=tuple(np.subtract(tile, overlap).tolist()))
        if mpp is not None and (problem := mpp_problem(mpp)):
            raise ValueError(f'mpp={mpp}: {problem}')
        self.mpp = self.model.mpp if mpp is None else mpp
        self._scale = self.mpp / self.model.mpp

    def get_transform(self) -> ToImage:
        """Makes a (3, H, W) uint8 tensor of a tile; the model itself normalises."""
        return ToImage()

    def to(self, device: str | torch.device) -> 'LazySlideModel':
        """Moves the model to a device."""
        self.model.to(device)
        return self

    def try_compile(self, **compile_kws) -> None:
        """Leaves the model as it is: to LazySlide, compiling is best effort."""

    @torch.no_grad()
    def segment(self, image: Tensor) -> tuple:
        """Finds the nuclei of tiles.

        Args:
            image: (B, 3, H, W) uint8 RGB, 0-255, on the model's device.

        Returns:
            `instance_map` (B, H, W) int32, ids 1..N per tile, 0
            background; `probability_map` (B, C, H, W) float32, 0-1: within a nucleus
            its score in the channel of its label, else 0; `patch_token_map` (B, D, h,
            w) float32, a token per 16 px of the network; `classes`, names of C classes.

        Raises:
            ValueError: When the tiles are not uint8.
        """
        if image.dtype != torch.uint8:
            raise ValueError(
                f'image: {image.dtype}, expected torch.uint8 RGB of 0-255, which the '
                'model itself normalises; call zs.seg.cells without transform')
        samples, tokens = self._predict(image)
        classes = tuple(self.model.dataset_meta['classes'])
        inst_maps = [sample.pred_inst_map.data[0] for sample in samples]
        prob_maps = [
            _paint_scores(inst_map.numpy(), sample.pred_instances, len(classes))
            for inst_map, sample in zip(inst_maps, samples, strict=True)]
        return self._output(
            probability_map=torch.from_numpy(np.stack(prob_maps)),
            instance_map=torch.stack(inst_maps), patch_token_map=tokens,
            classes=classes)

    def _predict(self, image: Tensor) -> tuple[SampleList, Tensor]:
        """Returns nuclei of tiles in their own pixels, and tokens of what was seen."""
        shape = image.shape[2:]
        seen = [max(round(side * self._scale), 1) for side in shape]
        scaled = F.interpolate(image.float(), size=seen, mode='bilinear')
        samples = [SegDataSample(metainfo=dict(ori_shape=shape, img_shape=seen))
                   for _ in image]
        # What a test pipeline hands over: BGR, channels first.
        data = self.model.data_preprocessor(
            dict(inputs=list(scaled.flip(1)), data_samples=samples))
        results = self.model.predict_maps_and_tokens(**data)
        tokens = torch.stack([own for _, own in results])
        if not isinstance(self.model, ReclassifyingSegmentor):
            results = [maps for maps, _ in results]
        return self.model.postprocess_result(results, samples), tokens


def _output_type() -> type:
    try:
        from lazyslide_models import SegmentationOutput
    except ImportError as error:
        raise ImportError(
            'LazySlideModel: LazySlide is not installed; run pip install lazyslide '
            '(Python 3.11 or later)') from error
    return SegmentationOutput


def _paint_scores(inst_map: np.ndarray, nuclei: InstanceData,
                  num_classes: int) -> np.ndarray:
    """Returns maps (C, H, W) float32, on average largest for a nucleus' own label.

    LazySlide takes the class with the largest mean, background included. Of the NC map
    itself that is not always the label, for which every pixel has a vote.
    """
    scores = np.zeros((num_classes, len(nuclei) + 1), dtype=np.float32)
    scores[nuclei.labels, np.arange(1, len(nuclei) + 1)] = nuclei.scores
    return scores[:, inst_map]
