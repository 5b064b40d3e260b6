# Copyright (c) CellVTA-MMSeg contributors.
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope

from ..models.segmentors import ReclassifyingSegmentor
from ..post_processing.expansion import check_expansion
from ..structures import CellTable, SlideInfo
from ..utils.model_folder import open_model
from .band import RollingBand
from .cells import NucleusSettings, SeamFilter, Window, join_windows, no_cells
from .handover import Handover
from .network import MAX_BATCH, TileNetwork, load_segmentor, tile_geometry
from .openvino_network import OpenVINONetwork
from .progress import NetworkTimer, StageClock
from .settings import model_settings, older_model_settings
from .slide_job import ORIGINS, InputOptions, SlideJob
from .tiles import TilePlan, TileReader, band_height, window_margin
from .workers import SharedPool, default_num_workers

# Up to so many tiles it does not pay to look for a batch size on a processor, or to
# open the input in other processes.
FEW_TILES = 64
BACKENDS = ('torch', 'openvino')
NICENESS = 5  # nuclei can wait, the network should not


class CellInferencer:
    """Finds the cells of images and whole slides with one model.

    Args:
        model: Config of a `CellSegmentor`.
        weights: Its checkpoint.
        device: Such as 'cuda:0' or 'mps'; None for the one that MMEngine would take.
        batch_size: Tiles that the network sees at once; None for one found by trying.
        num_workers: Processes that find nuclei while the network goes on; a quarter as
            many read tiles ahead. 0 does all in this process; None for as many as the
            processors allow.
        amp: Compute in half precision where that is safe.
        embeddings: Keep what the encoder saw of each cell.
        trust: Read objects besides tensors from the checkpoint, which can run any code.
        force_mpp: Take given µm/px also where a file states others, which are else
            kept.
        skip_damaged: Take damaged tiles of a slide for white glass, instead of
            refusing the slide.
        origin: From where cells are counted: 'slide', its upper left corner, or
            'bounds', that of the part that was scanned, from which QuPath counts.
        expand_um: Make cells that reach so far from their nuclei, µm, and do not
            overlap; None for nuclei only.
        backend: What computes the network: 'torch', or on processors 'openvino'.

    Attributes:
        clock: A `StageClock` of all that was done.

    Raises:
        ImportError: When OpenVINO is asked for and not installed.
        ValueError: When the checkpoint does not fit the config, or holds objects, or an
            option is none.

    Example:
        >>> inferencer = CellInferencer('config.py', 'weights.pth')
        >>> cells = inferencer('slide.svs')
    """

    def __init__(self, model: str | Path | Config, weights: str | Path,
                 device: str | None = None, batch_size: int | None = None,
                 num_workers: int | None = None, amp: bool = False,
                 embeddings: bool = False, trust: bool = False,
                 force_mpp: bool = False, skip_damaged: bool = False,
                 origin: str = 'slide', expand_um: float | None = None,
                 backend: str = 'torch') -> None:
        if origin not in ORIGINS:
            raise ValueError(f'origin={origin!r}: expected one of {ORIGINS}')
        if backend != 'torch':
            _check_backend(backend, device)
            device = 'cpu'
        self.options = InputOptions(force_mpp, skip_damaged, origin, expand_um)
        cfg = model if isinstance(model, Config) else Config.fromfile(model)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        if device is None:
            device = get_device()
        self.model = load_segmentor(cfg, weights, trust)
        self.reclassifies = isinstance(self.model, ReclassifyingSegmentor)
        self.embeddings = embeddings
        check_expansion(expand_um, self.model.post_processor.constants.markers)
        self.batch_size = batch_size
        self.tile, self.overlap = tile_geometry(self.model.test_cfg)
        with_tokens = embeddings or self.reclassifies
        self._make_pools(
            default_num_workers() if num_workers is None else num_workers,
            TileNetwork(self.model, amp, with_tokens))
        if backend == 'openvino':
            self.network = OpenVINONetwork(
                self.model, self.tile, amp, with_tokens)
        else:
            self.network = TileNetwork(self.model.to(device), amp, with_tokens)
        self.clock = StageClock()
        self._batch_sizes = {}  # by size of a tile
        shared = dict(
            amp=amp, embeddings=embeddings, tile=self.tile, overlap=self.overlap,
            **self.options.settings)
        if backend != 'torch':  # earlier versions had no other
            shared['backend'] = backend
        self.settings = dict(shared, **model_settings(cfg, weights))
        self.older_settings = dict(shared, **older_model_settings(cfg, weights))

    @classmethod
    def from_pretrained(cls, model: str | Path, **kwargs) -> 'CellInferencer':
        """Makes one of a model folder.

        Args:
            model: A folder that `tools/publish_model.py` wrote, or `hf://owner/name`
                with `@revision` if wanted, which is downloaded once.
            **kwargs: As for the class.

        Raises:
            OSError: When the hub cannot be reached and the cache does not have it.
            ValueError: When there is no such model, or it is damaged.
        """
        folder = open_model(model)
        return cls(folder.config, folder.weights, **kwargs)

    def _make_pools(self, num_workers: int, network: TileNetwork) -> None:
        """Starts the workers, before a model goes to a GPU."""
        num_readers = -(-num_workers // 4)
        tile_bytes = 3 * int(np.prod(self.tile))
        batch_bytes = tile_bytes * max(self.batch_size or 0, MAX_BATCH)
        self.readers = SharedPool(num_readers, batch_bytes, 2 * num_readers + 2)
        self.reader_here = SharedPool(0, batch_bytes, 1)
        side = band_height(self.options.expand_um) + 2 * window_margin(
            self.mpp, self.options.expand_um)
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
            mpp: Size of its pixels, µm, where the file does not say it.
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
            table = CellTable.concatenate([seams(cells) for _, cells in bands])
            for remark in job.facts.get('remarks', ()):
                warnings.warn(remark, stacklevel=2)
            return table

    def prepare(self, source: str | Path | np.ndarray, mpp: float | None = None,
                tissue_only: bool | None = None) -> SlideJob:
        """Opens an input; arguments as in a call."""
        with self.clock('preparing'):
            return SlideJob(source, mpp, self.mpp, self.tile, self.overlap,
                            self.model.dataset_meta, tissue_only, self.options)

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
            job.canvas.scale, self.options.expand_um)
        none = no_cells(self.network.num_maps, self.network.token_dims, settings)
        handover, waiting = Handover(self.finders, settings), deque()
        with closing(self._compute(
                job, bands, batch_size, handover, progress)) as ready:
            for band in ready:
                waiting.append(band)
                # One band stays with the workers, so that the network goes on.
                while len(waiting) > 1:
                    band = waiting.popleft()
                    yield band, self._collect(handover, band, none, job.info)
        for band in waiting:
            yield band, self._collect(handover, band, none, job.info)

    def _compute(self, job: SlideJob, bands: range, batch_size: int,
                 handover: Handover, progress: Callable[[int], None]) -> Iterator[int]:
        """Runs the network; yields each band that was handed over."""
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
                    with clock('nuclei'):
                        handover.push()
                    progress(len(batch.lefts))
                with clock('blending'):
                    rolling.finish_row(row)
                with clock('network'):
                    # The device computes the last row while the others are taken apart.
                    rolling.receive(num_left=0 if row == rows[-1] else 1)
                while coming and rolling.has(coming[0]):
                    with clock('nuclei'):
                        handover.add(coming[0], rolling)
                    yield coming.popleft()
        clock.add_network(timer)

    def _collect(self, handover: Handover, band: int, none: CellTable,
                 info: SlideInfo) -> CellTable:
        with self.clock('nuclei'):
            cells = join_windows([none, *handover.collect(band)], info.mpp)
            cells = cells.moved((-info.origin[0], -info.origin[1]))
        if self.reclassifies:
            labels, scores, class_probs = self.model.classify_tokens(cells.embeddings)
            cells = replace(
                cells, labels=labels, scores=scores, class_probs=class_probs)
        return cells if self.embeddings else replace(cells, embeddings=None)


def _check_backend(backend: str, device: str | None) -> None:
    if backend not in BACKENDS:
        raise ValueError(f'backend={backend!r}: expected one of {BACKENDS}')
    if device not in (None, 'cpu'):
        raise ValueError(f'backend={backend!r} is for processors: leave it out, or '
                         f'device={device!r}')


def _is_small(plan: TilePlan) -> bool:
    return plan.num_tiles(range(plan.num_bands)) < FEW_TILES
