# Copyright (c) CellVTA-MMSeg contributors.
import time

import numpy as np
import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from ..post_processing.instances import TOKEN_STRIDE

MAX_BATCH = 64  # tiles
MIN_GAIN = 0.95  # a larger batch must take less of this share of the time per tile


class TileNetwork:
    """A segmentor as a function from tiles to maps.

    Args:
        model (EncoderDecoder): A `CellSegmentor` in eval mode, on its device.
        amp (bool): Compute in half precision where that is safe (autocast).
        with_tokens (bool): Hand out tokens too; a `ReclassifyingSegmentor` needs them.

    Attributes:
        num_maps (int): 4 + C.
        token_dims (int): D, channels of a token; 0 without tokens.
    """

    def __init__(self, model: EncoderDecoder, amp: bool = False,
                 with_tokens: bool = False) -> None:
        self.model = model
        self.amp = amp
        self.token_dims = model.decode_head.in_channels[-1] if with_tokens else 0
        self.device = next(model.parameters()).device
        self.num_maps = model.out_channels

    @torch.no_grad()
    def __call__(self, tiles: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Compute the maps and tokens of tiles.

        Args:
            tiles (Tensor): (B, h, w, 3) uint8 RGB, h and w multiples of 16 px.

        Returns:
            tuple[np.ndarray, np.ndarray]: (B, 4 + C, h, w) float32: NP probabilities,
            HV values (x first), NC probabilities; and (B, D, h / 16, w / 16) float32.
        """
        # What a test pipeline hands over: BGR, channels first.
        inputs = list(tiles.flip(-1).permute(0, 3, 1, 2).contiguous())
        samples = [SegDataSample() for _ in inputs]
        data = self.model.data_preprocessor(dict(inputs=inputs, data_samples=samples))
        metas = [dict(img_shape=tuple(tiles.shape[1:3])) for _ in inputs]
        with torch.autocast(self.device.type, enabled=self.amp):
            if self.token_dims:
                maps, tokens = self.model.encode_decode_tokens(data['inputs'], metas)
            else:
                maps = self.model.encode_decode(data['inputs'], metas)
                tokens = maps.new_zeros(
                    len(maps), 0, *(side // TOKEN_STRIDE for side in maps.shape[2:]))
        return maps.float().cpu().numpy(), tokens.float().cpu().numpy()

    def find_batch_size(self, tile: tuple[int, int]) -> int:
        """The smallest batch size that is about as fast per tile as any that fits.

        Args:
            tile (tuple[int, int]): (height, width) px.

        Raises:
            torch.OutOfMemoryError: If not even one tile fits.
        """
        best, fastest = 1, self._seconds(1, tile)
        while best < MAX_BATCH:
            try:
                seconds = self._seconds(2 * best, tile)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                return best
            if seconds > MIN_GAIN * fastest:
                return best
            best, fastest = 2 * best, seconds
        return best

    def _seconds(self, batch_size: int, tile: tuple[int, int]) -> float:
        """Seconds per tile of the second call; the first one warms up."""
        tiles = torch.zeros(batch_size, *tile, 3, dtype=torch.uint8)
        self(tiles)
        start = time.perf_counter()
        self(tiles)
        return (time.perf_counter() - start) / batch_size
