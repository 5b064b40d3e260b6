# Copyright (c) CellVTA-MMSeg contributors.
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor

import cv2
import numpy as np
from mmengine.structures import InstanceData
from mmseg.registry import TASK_UTILS

from .instance_map import HoverConstants, hover_constants
from .instances import find_nuclei, rescale_instances

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]  # NP, HV and NC of an image


@TASK_UTILS.register_module()
class HoverPostProcessor:
    """Turns the maps of a HoVer-Net decoder into classified nuclei.

    Args:
        num_classes: Classes with background.
        mpp: Resolution of the maps, µm/px; kernel and minimum sizes follow it. 0.25 is
            40x.
        markers: 'hovernet' as published, or 'rising', which also finds thin nuclei at
            20x and does not depend on the rest of the map; see `hover_constants`.
        enlarge: Factor by which the maps are enlarged, linearly, before nuclei are
            looked for: outlines get smoother where the network sees coarse pixels.
        min_confidence: Nuclei whose pixels have a lower mean probability of being
            nucleus (of NP) are dropped, 0-1. A network that finds too many nuclei needs
            a higher one; 0.5 and less drop none.
        num_workers: Processes that share the images of a batch; 0 works in the calling
            process.

    Raises:
        ValueError: When an argument is out of range.
    """

    def __init__(self, num_classes: int, mpp: float = 0.25,
                 markers: str = 'hovernet', enlarge: int = 1,
                 min_confidence: float = 0.0, num_workers: int = 0) -> None:
        if num_classes < 2:
            raise ValueError(
                f'num_classes={num_classes}: expected at least 2, background included.')
        if enlarge < 1:
            raise ValueError(f'enlarge={enlarge}: expected a whole number from 1 on.')
        self.num_classes = num_classes
        self.mpp = mpp
        self.enlarge = enlarge
        self.constants = hover_constants(mpp / enlarge, markers, min_confidence)
        self.pool = WorkerPool(num_workers)

    def __call__(self, np_map: np.ndarray, hv_map: np.ndarray,
                 nc_map: np.ndarray) -> tuple[np.ndarray, InstanceData]:
        """Finds the nuclei of one image.

        Args:
            np_map: (2, H, W) float16/32/64, probability of background and nucleus, 0-1.
            hv_map: (2, H, W) float, raw network output, x first.
            nc_map: (C, H, W) float, class probabilities, 0-1.

        Returns:
            (H, W) int32 map with ids 1..N without gaps, 0 background; and N nuclei in
            the order of the ids: `centroids` (N, 2) x, y px; `bboxes` (N, 4) x1, y1,
            x2, y2 px, maximum exclusive; `labels` (N,) 1..C-1; `scores` (N,) mean
            probability of the label over the nucleus; `class_probs` (N, C); `contours`,
            list of (K, 2) int x, y px.

        Raises:
            ValueError: When a map has the wrong shape or a value that is not finite.
        """
        return self.process_batch([(np_map, hv_map, nc_map)], [np_map.shape[1:]])[0]

    def process_batch(
            self, maps: Sequence[Maps],
            shapes: Sequence[tuple[int, int]]) -> list[tuple[np.ndarray, InstanceData]]:
        """Finds the nuclei of several images, in worker processes where there are any.

        Args:
            maps: The three arguments of a call for every image.
            shapes: (H, W), px, of every original image, to whose grid its nuclei are
                brought.

        Returns:
            The result of a call per image.

        Raises:
            ValueError: When a map has the wrong shape or a value that is not finite.
        """
        for image_maps in maps:
            self._check_maps(*image_maps)
        jobs = [(image_maps, self.constants, self.enlarge, tuple(shape))
                for image_maps, shape in zip(maps, shapes, strict=True)]
        return [(inst_map, InstanceData(**table))
                for inst_map, table in self.pool.starmap(_process_image, jobs)]

    def _check_maps(self, np_map: np.ndarray, hv_map: np.ndarray,
                    nc_map: np.ndarray) -> None:
        named = dict(np=(np_map, 2), hv=(hv_map, 2), nc=(nc_map, self.num_classes))
        for name, (values, channels) in named.items():
            expected = (channels, *np_map.shape[1:])
            if values.ndim != 3 or values.shape != expected:
                raise ValueError(
                    f'{name} map: shape {values.shape}, expected {expected}: '
                    '(channels, height, width), the size of the np map.')
            if not np.isfinite(values).all():
                raise ValueError(
                    f'{name} map: contains NaN or infinite values. Check the weights '
                    'and, under mixed precision, the range of the network outputs.')


def _process_image(maps: Maps, constants: HoverConstants, enlarge: int,
                   shape: tuple[int, int]) -> tuple[np.ndarray, dict]:
    """Works on one image; plain arrays go in and out, so that workers can do it."""
    inst_map, table, *_ = find_nuclei(*maps, constants, enlarge)
    return rescale_instances(inst_map, table, shape)


class WorkerPool:
    """Worker processes that start with the first batch and stay until the exit.

    Copies and pickles carry the number of workers, not the processes, so that a model
    which holds a pool can be deep-copied (EMA) or sent to another process.

    Args:
        num_workers: Number of processes; 0 works in the calling process.

    Raises:
        ValueError: When `num_workers` is negative.
    """

    def __init__(self, num_workers: int = 0) -> None:
        if num_workers < 0:
            raise ValueError(f'num_workers={num_workers}: expected 0 or more.')
        self.num_workers = num_workers
        self._executor = None

    def starmap(self, function: Callable, jobs: Sequence[tuple]) -> list:
        """Calls `function(*job)` for every job; results come in the order of the jobs.

        A single job is not worth the way to another process and back.
        """
        if self.num_workers == 0 or len(jobs) < 2:
            return [function(*job) for job in jobs]
        return list(self._running().map(function, *zip(*jobs, strict=True)))

    def submit(self, function: Callable, *arguments) -> Future:
        """Starts `function(*arguments)` in a worker; calls it now without workers."""
        if self.num_workers:
            return self._running().submit(function, *arguments)
        done = Future()
        done.set_result(function(*arguments))
        return done

    def _running(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # A forked worker starts at once; a spawned one imports torch first.
            method = 'fork' if sys.platform == 'linux' else None
            # OpenCV's threads do not survive a fork, and would compete with workers.
            self._executor = ProcessPoolExecutor(
                self.num_workers,
                mp_context=multiprocessing.get_context(method),
                initializer=cv2.setNumThreads,
                initargs=(0,))
        return self._executor

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_executor': None}
