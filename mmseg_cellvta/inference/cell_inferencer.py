# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..models.segmentors import ReclassifyingSegmentor
from ..post_processing.hover_post_processor import WorkerPool
from ..structures import CellTable
from ..utils.files import describe_files, settings_digest
from .load_segmentor import load_segmentor
from .seam_filter import SeamFilter
from .slide_job import SlideJob
from .slide_scan import SlideScan
from .stage_clock import StageClock
from .tile_network import TileNetwork
from .window_cells import NucleusSettings

DEFAULT_TILE, DEFAULT_OVERLAP = (256, 256), (32, 32)  # px of the network
MANY_TILES = 64  # from which on it pays to look for a batch size on a processor


class CellInferencer:
    """Finds the cells of pictures and whole slides with one model.

    Args:
        model (str | Path | Config): Config of a `CellSegmentor`.
        weights (str | Path): Its checkpoint.
        device (str, optional): Such as 'cuda:0'; the best one there is if not given.
        batch_size (int, optional): Tiles that the network sees at once; found by trying
            if not given.
        num_workers (int): Processes that read tiles ahead, and as many that find nuclei
            while the network goes on; 0 works in this process. Defaults to 0.
        amp (bool): Compute in half precision where that is safe. Defaults to False.
        embeddings (bool): Keep what the encoder saw of each cell. Defaults to False.

    Raises:
        ValueError: If the checkpoint does not fit the config.

    Example:
        >>> inferencer = CellInferencer('config.py', 'weights.pth')
        >>> cells = inferencer('slide.svs')
    """

    def __init__(self, model: str | Path | Config, weights: str | Path,
                 device: str | None = None, batch_size: int | None = None,
                 num_workers: int = 0, amp: bool = False,
                 embeddings: bool = False) -> None:
        cfg = model if isinstance(model, Config) else Config.fromfile(model)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        if device is None:
            device = 'cuda:0' if torch.cuda.is_available() else 'cpu'
        self.model = load_segmentor(cfg, weights, device)
        self.reclassifies = isinstance(self.model, ReclassifyingSegmentor)
        self.network = TileNetwork(self.model, amp, embeddings or self.reclassifies)
        self.embeddings = embeddings
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pool = WorkerPool(num_workers)
        self.tile, self.overlap = _tile_geometry(self.model.test_cfg)
        self.clock = StageClock()
        self.settings = dict(
            model=settings_digest(cfg.model.to_dict()),
            weights=describe_files([weights]), amp=amp, embeddings=embeddings,
            tile=self.tile, overlap=self.overlap)

    @property
    def mpp(self) -> float:
        """Size of the network's pixels, µm."""
        return self.model.mpp

    def __call__(self, source: str | Path | np.ndarray, mpp: float | None = None,
                 tissue_only: bool | None = None) -> CellTable:
        """Find the cells of a picture or slide, in memory.

        Args:
            source (str | Path | np.ndarray): A file, or (H, W, 3) uint8 RGB pixels.
            mpp (float, optional): Size of its pixels, µm, if the file does not say.
            tissue_only (bool, optional): Leave out tiles without tissue; by default for
                slides but not for pictures.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, or the size of its pixels is not known.
        """
        with closing(self.prepare(source, mpp, tissue_only)) as job:
            bands = self.scan(
                job, range(job.plan.num_bands), self.choose_batch_size(job))
            seams = SeamFilter(job.info.mpp)
            return CellTable.concatenate([seams(cells) for _, cells in bands])

    def prepare(self, source: str | Path | np.ndarray, mpp: float | None = None,
                tissue_only: bool | None = None) -> SlideJob:
        """Open an input; arguments as in a call."""
        with self.clock('preparing'):
            return SlideJob(source, mpp, self.mpp, self.tile, self.overlap,
                            self.model.dataset_meta, tissue_only)

    def choose_batch_size(self, job: SlideJob) -> int:
        """The batch size that was given, or one found by trying.

        On a processor few tiles are done sooner than they are tried.
        """
        if self.batch_size is not None:
            return self.batch_size
        with self.clock('preparing'):
            plan = job.plan
            few = plan.num_tiles(range(plan.num_bands)) < MANY_TILES
            if few and self.network.device.type == 'cpu':
                return 1
            self.batch_size = self.network.find_batch_size(plan.tile)
        return self.batch_size

    def scan(self, job: SlideJob, bands: range, batch_size: int,
             progress: Callable[[int], None] = lambda num_tiles: None
             ) -> Iterator[tuple[int, CellTable]]:
        """Find the cells of neighbouring bands of an input; see `SlideScan.run`."""
        post_processor = self.model.post_processor
        settings = NucleusSettings(
            post_processor.constants, post_processor.enlarge, self.mpp,
            job.canvas.scale)
        scan = SlideScan(job.canvas, job.plan, self.network, settings, batch_size,
                         self.num_workers, self.pool, self.clock, progress)
        for band, cells in scan.run(bands):
            yield band, self._finish(cells)

    def _finish(self, cells: CellTable) -> CellTable:
        """Classify cells by their embeddings, if so, and drop these if not wanted."""
        if self.reclassifies:
            labels, scores, class_probs = self.model.classify_tokens(cells.embeddings)
            cells = replace(
                cells, labels=labels, scores=scores, class_probs=class_probs)
        return cells if self.embeddings else replace(cells, embeddings=None)


def _tile_geometry(test_cfg: dict) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of tiles and their overlap, px: those of sliding testing."""
    if test_cfg.get('mode') != 'slide':
        return DEFAULT_TILE, DEFAULT_OVERLAP
    tile = tuple(test_cfg['crop_size'])
    return tile, tuple(size - stride for size, stride in zip(
        tile, test_cfg['stride'], strict=True))
