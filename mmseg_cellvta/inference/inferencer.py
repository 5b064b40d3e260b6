# Copyright (c) CellVTA-MMSeg contributors.
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..models.segmentors import ReclassifyingSegmentor
from ..slides import SlideCanvas, TissueMask, open_slide, result_name
from ..structures import CellTable, SlideInfo
from .band import RollingBand
from .cells import (
    NucleusSettings,
    SeamFilter,
    Window,
    find_cells,
    no_cells,
    without_overlap,
)
from .network import MAX_BATCH, TileNetwork, load_segmentor, tile_geometry
from .progress import NetworkTimer, StageClock
from .settings import model_settings, older_model_settings
from .tiles import TilePlan, TileReader, band_height, plan_tiles, window_margin
from .workers import SharedPool, default_num_workers

# Up to so many tiles it does not pay to look for a batch size on a processor, or to
# open the input in other processes.
FEW_TILES = 64
MAX_EXPANSION_UM = 25.0  # as far as QuPath goes
NICENESS = 5  # nuclei can wait, the network should not


class SlideJob:
    """An image or slide to be worked on.

    Attributes:
        reader: Its pixels, a `SlideReader`.
        canvas: The same at the network's scale.
        info: What writers need to know.

    Args:
        source: A file, or (H, W, 3) uint8 RGB pixels.
        source_mpp: Size of its pixels, µm; None for what the file says.
        mpp: Size of the network's pixels, µm.
        tile: (height, width) of a tile in those.
        overlap: (rows, columns) that neighbouring tiles share.
        dataset_meta: Has `classes` and `palette`, background first.
        tissue_only: Leave out tiles without tissue; None does so for slides but not for
            images.
        expand_um: How far cells reach from their nuclei, µm; None for nuclei only.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it cannot be read, or the size of its pixels is not known.
    """

    def __init__(self, source: str | Path | np.ndarray, source_mpp: float | None,
                 mpp: float, tile: tuple[int, int], overlap: tuple[int, int],
                 dataset_meta: dict, tissue_only: bool | None,
                 expand_um: float | None = None) -> None:
        self.reader = open_slide(source, source_mpp)
        self.canvas = SlideCanvas(self.reader, mpp)
        self.in_memory = isinstance(source, np.ndarray)
        self.tile = tile
        self.overlap = overlap
        self.expand_um = expand_um
        self.tissue_only = self.reader.is_slide if tissue_only is None else tissue_only
        name = 'array' if self.in_memory else result_name(Path(source))
        self.info = SlideInfo(
            name=name, shape=tuple(self.reader.shape), mpp=self.reader.mpp,
            classes=tuple(dataset_meta['classes']),
            palette=tuple(map(tuple, dataset_meta['palette'])))

    @cached_property
    def plan(self) -> TilePlan:
        """Tiles, bands and windows; looks for tissue when it is first asked for."""
        covers = self._find_tissue() if self.tissue_only else None
        return plan_tiles(self.canvas.shape, self.tile, self.overlap,
                          window_margin(self.canvas.mpp, self.expand_um), covers,
                          band_height(self.expand_um))

    @property
    def seen_mm2(self) -> float:
        """Area of the image or slide that tiles cover, mm²."""
        return self.plan.covered_px * (self.canvas.mpp / 1000)**2

    def close(self) -> None:
        """Closes the input's file."""
        self.reader.close()

    def _find_tissue(self) -> Callable[[int, int, int, int], bool]:
        """Returns what tells if tissue is in x, y, width, height, px of the canvas."""
        mask = TissueMask(self.reader)
        scale_x, scale_y = self.canvas.scale
        return lambda x, y, width, height: mask.covers(
            x * scale_x, y * scale_y, width * scale_x, height * scale_y)


class CellInferencer:
    """Finds the cells of images and whole slides with one model.

    Args:
        model: Config of a `CellSegmentor`.
        weights: Its checkpoint.
        device: Such as 'cuda:0'; None for the best one there is.
        batch_size: Tiles that the network sees at once; None for one found by trying.
        num_workers: Processes that find nuclei while the network goes on; a quarter as
            many read tiles ahead. 0 does all in this process; None for as many as the
            processors allow.
        amp: Compute in half precision where that is safe.
        embeddings: Keep what the encoder saw of each cell.
        expand_um: Make cells that reach so far from their nuclei, µm, and do not
            overlap; None for nuclei only.

    Attributes:
        clock: A `StageClock` of all that was done.

    Raises:
        ValueError: When the checkpoint does not fit the config, or cells are asked for
            that are too large or would overlap.

    Example:
        >>> inferencer = CellInferencer('config.py', 'weights.pth')
        >>> cells = inferencer('slide.svs')
    """

    def __init__(self, model: str | Path | Config, weights: str | Path,
                 device: str | None = None, batch_size: int | None = None,
                 num_workers: int | None = None, amp: bool = False,
                 embeddings: bool = False, expand_um: float | None = None) -> None:
        check_expansion(expand_um)
        cfg = model if isinstance(model, Config) else Config.fromfile(model)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        if device is None:
            device = 'cuda:0' if torch.cuda.is_available() else 'cpu'
        self.model = load_segmentor(cfg, weights)
        self.reclassifies = isinstance(self.model, ReclassifyingSegmentor)
        self.embeddings = embeddings
        self.expand_um = expand_um
        if expand_um is not None:
            _check_markers(self.model.post_processor.constants.markers)
        self.batch_size = batch_size
        self.tile, self.overlap = tile_geometry(self.model.test_cfg)
        with_tokens = embeddings or self.reclassifies
        self._make_pools(
            default_num_workers() if num_workers is None else num_workers,
            TileNetwork(self.model, amp, with_tokens))
        self.network = TileNetwork(self.model.to(device), amp, with_tokens)
        self.clock = StageClock()
        self._batch_sizes = {}  # by size of a tile
        shared = dict(
            amp=amp, embeddings=embeddings, tile=self.tile, overlap=self.overlap)
        if expand_um is not None:  # older versions did not know it
            shared['expand_um'] = expand_um
        self.settings = dict(shared, **model_settings(cfg, weights))
        self.older_settings = dict(shared, **older_model_settings(cfg, weights))

    def _make_pools(self, num_workers: int, network: TileNetwork) -> None:
        """Starts the workers, before a model goes to a GPU."""
        num_readers = -(-num_workers // 4)
        tile_bytes = 3 * int(np.prod(self.tile))
        batch_bytes = tile_bytes * max(self.batch_size or 0, MAX_BATCH)
        self.readers = SharedPool(num_readers, batch_bytes, 2 * num_readers + 2)
        self.reader_here = SharedPool(0, batch_bytes, 1)
        side = band_height(self.expand_um) + 2 * window_margin(
            self.mpp, self.expand_um)
        largest = Window((0, 0, side, side), (0, 0, side, side), network.num_maps,
                         network.token_dims)
        self.finders = SharedPool(
            num_workers, largest.num_bytes, num_workers + 1, NICENESS)
        self.readers.start()
        self.finders.start()

    def close(self) -> None:
        """Ends the workers, which else end with this process; a call starts others."""
        self.readers.close()
        self.finders.close()

    @property
    def mpp(self) -> float:
        """Size of the network's pixels, µm."""
        return self.model.mpp

    def __call__(self, source: str | Path | np.ndarray, mpp: float | None = None,
                 tissue_only: bool | None = None) -> CellTable:
        """Finds the cells of an image or slide, in memory.

        Args:
            source: A file, or (H, W, 3) uint8 RGB pixels.
            mpp: Size of its pixels, µm; None for what the file says.
            tissue_only: Leave out tiles without tissue; by default for slides but not
                for images.

        Raises:
            FileNotFoundError: When there is no such file.
            ValueError: When it cannot be read, or the size of its pixels is not known.
        """
        with closing(self.prepare(source, mpp, tissue_only)) as job:
            bands = self.scan(
                job, range(job.plan.num_bands), self.choose_batch_size(job))
            seams = SeamFilter(job.info.mpp)
            return CellTable.concatenate([seams(cells) for _, cells in bands])

    def prepare(self, source: str | Path | np.ndarray, mpp: float | None = None,
                tissue_only: bool | None = None) -> SlideJob:
        """Opens an input; arguments as in a call."""
        with self.clock('preparing'):
            return SlideJob(source, mpp, self.mpp, self.tile, self.overlap,
                            self.model.dataset_meta, tissue_only, self.expand_um)

    def choose_batch_size(self, job: SlideJob) -> int:
        """Returns the batch size that was given, or one found by trying.

        On a processor few tiles are done sooner than they are tried.
        """
        if self.batch_size is not None:
            return self.batch_size
        with self.clock('preparing'):
            tile = job.plan.tile
            if tile not in self._batch_sizes:
                if self.network.device.type == 'cpu' and _is_small(job.plan):
                    return 1
                self._batch_sizes[tile] = self.network.find_batch_size(tile)
        return self._batch_sizes[tile]

    def scan(self, job: SlideJob, bands: range, batch_size: int,
             progress: Callable[[int], None] = lambda num_tiles: None
             ) -> Iterator[tuple[int, CellTable]]:
        """Finds the cells of neighbouring bands, whose number does not cost memory.

        Args:
            job: The input.
            bands: Which of its bands.
            batch_size: Tiles that the network sees at once.
            progress: Called with the number of tiles done.

        Yields:
            A band and its cells, those on its border included (see `SeamFilter`), from
            top to bottom.
        """
        post_processor = self.model.post_processor
        settings = NucleusSettings(
            post_processor.constants, post_processor.enlarge, self.mpp,
            job.canvas.scale, self.expand_um)
        none = no_cells(self.network.num_maps, self.network.token_dims, settings)
        waiting = deque()
        with closing(self._compute(job, bands, batch_size, progress)) as ready:
            for band, rolling in ready:
                waiting.append((band, self._find_nuclei(band, rolling, settings)))
                # One band stays with the workers, so that the network goes on.
                while len(waiting) > 1:
                    yield self._collect(*waiting.popleft(), none, settings)
        while waiting:
            yield self._collect(*waiting.popleft(), none, settings)

    def _compute(self, job: SlideJob, bands: range, batch_size: int,
                 progress: Callable[[int], None]) -> Iterator[tuple[int, RollingBand]]:
        """Runs the network; yields each band when its maps are at home."""
        plan, clock, coming = job.plan, self.clock, deque(bands)
        rows = plan.tile_rows(bands)
        rolling = RollingBand(plan, self.network, rows[0])
        timer = NetworkTimer(self.network.device)
        here = job.in_memory or _is_small(plan)
        reader = TileReader(job.canvas, plan, batch_size,
                            self.reader_here if here else self.readers)
        with closing(reader.read(rows)) as tiles:
            for row, batches in zip(rows, tiles, strict=True):
                while True:
                    with clock('reading'):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    with clock('network'), timer():
                        maps, tokens = self.network(batch.pixels)
                    with clock('blending'):
                        rolling.add(batch, maps, tokens)
                    progress(len(batch.lefts))
                with clock('blending'):
                    rolling.finish_row(row)
                with clock('network'):
                    # The device computes the last row while the others are taken apart.
                    rolling.receive(num_left=0 if row == rows[-1] else 1)
                while coming and rolling.has(coming[0]):
                    yield coming.popleft(), rolling
        clock.add_network(timer)

    def _find_nuclei(self, band: int, rolling: RollingBand,
                     settings: NucleusSettings) -> list:
        """Hands the windows of a band to the workers; returns what they promise."""
        futures = []
        with self.clock('nuclei'):
            for window in rolling.windows(band):
                place = self.finders.borrow()
                rolling.fill(window, self.finders.memory(place))
                future = self.finders.submit(place, find_cells, window, settings)
                future.add_done_callback(
                    lambda _, place=place: self.finders.release(place))
                futures.append(future)
            rolling.forget(band)
        return futures

    def _collect(self, band: int, futures: list, none: CellTable,
                 settings: NucleusSettings) -> tuple[int, CellTable]:
        mpp = settings.mpp / settings.scale[0]  # of level 0
        with self.clock('nuclei'):
            tables = [none]
            for future in futures:
                # The windows of a band lie from left to right.
                before, table = tables[-1], future.result()
                tables.append(without_overlap(before, table, mpp))
            cells = CellTable.concatenate(tables)
        if self.reclassifies:
            labels, scores, class_probs = self.model.classify_tokens(cells.embeddings)
            cells = replace(
                cells, labels=labels, scores=scores, class_probs=class_probs)
        return band, cells if self.embeddings else replace(cells, embeddings=None)


def check_expansion(expand_um: float | None) -> None:
    """Refuses cells that are none.

    Raises:
        ValueError: Says how far cells may reach from their nuclei.
    """
    if expand_um is not None and not 0 < expand_um <= MAX_EXPANSION_UM:
        raise ValueError(
            f'expand_um={expand_um:g}: expected more than 0 and at most '
            f'{MAX_EXPANSION_UM:g} µm; leave it out for nuclei only')


def _check_markers(markers: str) -> None:
    """Refuses cells around nuclei on whose outlines windows may disagree."""
    if markers != 'rising':
        raise ValueError(
            f'expand_um with markers={markers!r} of the post-processor: neighbouring '
            'windows may then disagree about a nucleus, and cells would overlap; take '
            "model.post_processor.markers='rising'")


def _is_small(plan: TilePlan) -> bool:
    return plan.num_tiles(range(plan.num_bands)) < FEW_TILES
