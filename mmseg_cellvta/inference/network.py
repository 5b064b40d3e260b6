# Copyright (c) CellVTA-MMSeg contributors.
"""A model with its weights, and the model as a function from tiles to maps."""
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmseg.apis import init_model
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..configuration.configs import inner_configs, part_config
from ..models.data_preprocessor import CellDataPreProcessor
from ..post_processing.instances import TOKEN_STRIDE
from ..utils.checkpoints import load_weights, read_checkpoint
from ..utils.dataset_meta import check_dataset_meta, read_dataset_meta
from ..utils.devices import empty_cache, is_out_of_memory, synchronize

DEFAULT_TILE, DEFAULT_OVERLAP = (256, 256), (32, 32)  # px of the network
MAX_BATCH = 64  # tiles
MIN_GAIN = 0.95  # a larger batch must take less of this share of the time per tile


def load_segmentor(cfg: Config, weights: str | Path,
                   trust: bool = False) -> EncoderDecoder:
    """Builds a model in the form for inference; see `build_segmentor`."""
    model = build_segmentor(cfg, weights, trust)
    model.switch_to_deploy()
    return model


def build_segmentor(cfg: Config, weights: str | Path,
                    trust: bool = False) -> EncoderDecoder:
    """Builds a model on the CPU and loads all its weights.

    MMSegmentation's own way leaves weights that do not fit at random values, takes the
    classes of another data set where a checkpoint names none, and on the maintained
    package set runs code that a checkpoint holds.

    Args:
        cfg: Its `model`, and the data set of its `test_dataloader`.
        weights: Checkpoint, of our training or converted.
        trust: Read objects besides tensors and plain values too. A file made for it
            then runs any code.

    Returns:
        A model in eval mode; its `dataset_meta` has `classes` and `palette`.

    Raises:
        CheckpointError: When the file is missing, does not fit the config, or holds
            objects.
        ValueError: When neither checkpoint nor config names the classes.
    """
    model = init_model(cfg, device='cpu')
    checkpoint = read_checkpoint(weights, trust)
    load_weights(model, checkpoint, weights)
    meta = read_dataset_meta(checkpoint)
    if meta is None:  # of converted checkpoints
        meta = _config_meta(cfg, model.num_result_classes)
    model.dataset_meta = check_dataset_meta(
        meta, model.num_result_classes, str(weights))
    return model


def _config_meta(cfg: Config, num_classes: int) -> dict:
    """Returns classes and palette of the data set that a config tests on."""
    dataset = next(inner_configs(part_config(cfg, 'test') or {}))
    kind = dataset.get('type')  # a class in a pure Python config
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    meta = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    classes = meta.get('classes', ())
    if len(classes) != num_classes:
        raise ValueError(
            f'the checkpoint names no classes, and test_dataloader.dataset of the '
            f'config has {len(classes)}; expected {num_classes}, background included: '
            'set its metainfo to dict(classes=..., palette=...)')
    return meta


def tile_geometry(test_cfg: dict) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of tiles and their overlap, px: those of testing."""
    if test_cfg.get('mode') != 'slide':
        return DEFAULT_TILE, DEFAULT_OVERLAP
    tile = tuple(test_cfg['crop_size'])
    return tile, tuple(size - stride for size, stride in zip(
        tile, test_cfg['stride'], strict=True))


class TileNetwork:
    """A segmentor as a function from tiles to maps.

    Args:
        model: A `CellSegmentor` in eval mode, on its device.
        amp: Compute in half precision where that is safe (autocast).
        with_tokens: Hand out tokens too; a `ReclassifyingSegmentor` needs them.

    Attributes:
        device: That of the model.
        num_maps: 4 + C.
        token_dims: D, channels of a token; 0 without tokens.
    """

    def __init__(self, model: EncoderDecoder, amp: bool = False,
                 with_tokens: bool = False) -> None:
        self.model = model
        self.amp = amp
        self.device = next(model.parameters()).device
        self.num_maps = model.out_channels
        self.token_dims = model.decode_head.in_channels[-1] if with_tokens else 0

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Computes the maps and tokens of tiles.

        On an accelerator the result is promised rather than finished: nothing here
        waits for it.

        Args:
            pixels: (B, h, w, 3) uint8 RGB, 0-255, h and w multiples of 16 px; free to
                change afterwards.

        Returns:
            (B, 4 + C, h, w) float32 on the device: NP probabilities, HV values (x
            first), NC probabilities; and tokens (B, D, h / 16, w / 16) float32.
        """
        tiles = torch.from_numpy(pixels)
        if self.device.type == 'cuda':
            # Only from pinned memory does the copy not wait for the GPU.
            tiles = tiles.pin_memory().to(self.device, non_blocking=True)
        return self._compute(self._normalize(tiles))

    def _compute(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the maps and tokens of normalised tiles (B, 3, h, w)."""
        metas = [dict(img_shape=inputs.shape[2:]) for _ in inputs]
        with torch.autocast(self.device.type, enabled=self.amp):
            if self.token_dims:
                maps, tokens = self.model.encode_decode_tokens(inputs, metas)
            else:
                maps = self.model.encode_decode(inputs, metas)
                tokens = maps.new_zeros(
                    len(maps), 0, *(side // TOKEN_STRIDE for side in maps.shape[2:]))
        return maps.float(), tokens.float()

    def _normalize(self, tiles: Tensor) -> Tensor:
        preprocessor = self.model.data_preprocessor
        if type(preprocessor) is CellDataPreProcessor:
            return preprocessor.normalize_tiles(tiles)
        # What a test pipeline hands over: BGR, channels first.
        inputs = list(tiles.permute(0, 3, 1, 2).flip(1))
        samples = [SegDataSample() for _ in inputs]
        return preprocessor(dict(inputs=inputs, data_samples=samples))['inputs']

    def find_batch_size(self, tile: tuple[int, int]) -> int:
        """Finds the smallest batch that is about as fast per tile as any that fits.

        Args:
            tile: (height, width) px.

        Raises:
            RuntimeError: When not even one tile fits.
        """
        best, fastest = 1, self._seconds(1, tile)
        while best < MAX_BATCH:
            try:
                seconds = self._seconds(2 * best, tile)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                empty_cache(self.device)
                return best
            if seconds > MIN_GAIN * fastest:
                return best
            best, fastest = 2 * best, seconds
        return best

    def _seconds(self, batch_size: int, tile: tuple[int, int]) -> float:
        """Returns the seconds per tile of the second call; the first one warms up."""
        pixels = np.zeros((batch_size, *tile, 3), np.uint8)
        self(pixels)
        synchronize(self.device)
        start = time.perf_counter()
        self(pixels)
        synchronize(self.device)
        return (time.perf_counter() - start) / batch_size
