# Copyright (c) CellVTA-MMSeg contributors.
"""Times the numpy parts on one core: post-processing, HV target, panoptic quality.

    OMP_NUM_THREADS=1 python tools/analysis_tools/benchmark_numpy.py --check
"""
import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUM_CLASSES = 7


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=7, help='timed runs per row')
    parser.add_argument(
        '--check', action='store_true', help='exit with 1 when a bar is missed')
    return parser.parse_args()


def draw_nuclei(rng: np.random.Generator, side: int = 1024,
                grid: int = 32) -> np.ndarray:
    """Draws ellipses with semi-axes of 7 to 17 px on a jittered grid; many touch.

    Returns:
        Instance ids, int32 (side, side), 0 background.
    """
    import cv2
    inst_map = np.zeros((side, side), dtype=np.int32)
    pitch = side / grid
    for inst_id, (row, col) in enumerate(np.ndindex(grid, grid), start=1):
        x, y = (np.array([col, row]) + 0.5 + rng.uniform(-0.3, 0.3, 2)) * pitch
        axes = rng.uniform(7, 17, 2)
        cv2.ellipse(inst_map, ((x, y), tuple(2 * axes), rng.uniform(0, 180)),
                    inst_id, thickness=cv2.FILLED)
    return inst_map


def draw_maps(inst_map: np.ndarray, rng: np.random.Generator
              ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws NP, HV and NC maps of the nuclei like a network's, with smooth noise.

    Returns:
        NP (2, H, W), HV (2, H, W) and NC (C, H, W), float32; NP and NC are
        probabilities, 0-1.
    """
    import cv2

    from mmseg_cellvta.datasets.transforms.hv_target import hv_target

    def noise(channels: int, scale: float) -> np.ndarray:
        maps = rng.standard_normal((channels, *inst_map.shape), dtype=np.float32)
        maps = np.stack([cv2.GaussianBlur(m, (0, 0), 2) for m in maps])
        return maps * (scale / maps.std())

    def softmax(logits: np.ndarray) -> np.ndarray:
        exp = np.exp(logits - logits.max(axis=0))
        return exp / exp.sum(axis=0)

    inside = cv2.GaussianBlur((inst_map > 0).astype(np.float32), (0, 0), 1)
    np_logit = 8 * inside - 4
    class_of = rng.integers(1, NUM_CLASSES, inst_map.max() + 1)
    class_of[0] = 0
    nc_logits = 4 * (class_of[inst_map] == np.arange(NUM_CLASSES)[:, None, None])
    return (softmax(np.stack([-np_logit, np_logit]) / 2 + noise(2, 0.5)),
            hv_target(inst_map) + noise(2, 0.05),
            softmax(nc_logits.astype(np.float32) + noise(NUM_CLASSES, 1)))


def median_seconds(function: Callable[[], object], runs: int) -> float:
    """Measures the median time of a call in s, after one call to warm up.

    This is processor time: the same as the clock on an idle core, and without the time
    that other jobs take.
    """
    function()
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times)


def cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(':')[1].strip() for line in lines if 'model name' in line)
    return next(names, platform.processor() or platform.machine())


def main() -> int:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    import cv2

    from mmseg_cellvta.datasets.transforms.hv_target import hv_target
    from mmseg_cellvta.evaluation.functional import panoptic_quality
    from mmseg_cellvta.post_processing import HoverPostProcessor
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    true = draw_nuclei(rng)
    maps = draw_maps(true, rng)
    released = HoverPostProcessor(NUM_CLASSES, mpp=0.25)
    rising = HoverPostProcessor(NUM_CLASSES, mpp=0.25, markers='rising')
    pred, _ = released(*maps)
    rows = [
        ('post-processing', 0.25, lambda: released(*maps)),
        ('post-processing, rising markers', 0.25, lambda: rising(*maps)),
        ('HV target', 0.10, lambda: hv_target(true)),
        ('panoptic quality', 0.05, lambda: panoptic_quality(true, pred))]
    print(f'{true.shape[0]} x {true.shape[1]} px, {len(np.unique(true)) - 1} nuclei '
          f'drawn, {pred.max()} found, PQ {panoptic_quality(true, pred).pq:.3f}; '
          f'one core of {cpu_name()}; medians of {args.runs} runs\n')
    print('| step | time (s) | bar (s) | |')
    print('|---|---|---|---|')
    missed = 0
    for name, bar, function in rows:
        seconds = median_seconds(function, args.runs)
        missed += seconds > bar
        verdict = 'missed' if seconds > bar else 'met'
        print(f'| {name} | {seconds:.3f} | {bar:.2f} | {verdict} |')
    return int(args.check and missed > 0)


if __name__ == '__main__':
    sys.exit(main())
