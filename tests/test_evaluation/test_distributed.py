# Copyright (c) CellVTA-MMSeg contributors.
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed

from mmseg_cellvta.evaluation import CellInstanceMetric

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / 'tests' / 'data' / 'metrics_8img.npz'


def make_sample(data, index: int) -> dict:
    """A data sample as the evaluator passes it."""

    def label_map(key):
        return dict(data=torch.from_numpy(data[key][index][None].astype('int64')))

    ids, pred_type = data['pred_inst'][index], data['pred_type'][index]
    labels = [pred_type[ids == number][0] for number in range(1, ids.max() + 1)]
    return dict(
        sample_name=str(index), mpp=0.5, tissue=str(data['tissue'][index]),
        gt_inst_map=label_map('gt_inst'), gt_sem_seg=label_map('gt_type'),
        pred_inst_map=label_map('pred_inst'), pred_instances=dict(labels=labels))


def evaluate(mine: list[int], size: int, collect_dir: str | None = None) -> dict:
    data = np.load(GOLDEN)
    metric = CellInstanceMetric(collect_dir=collect_dir)
    metric.dataset_meta = dict(classes=('background', *'abcdef'))
    for index in mine:
        metric.process({}, [make_sample(data, index)])
    return metric.evaluate(size)


def evaluate_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    # Seven images: as MMEngine's sampler does it, rank 1 gets image 0 once more, which
    # must not count.
    mine = [[0, 2, 4, 6], [1, 3, 5, 0]][rank]
    metrics = evaluate(mine, size=7, collect_dir=f'{folder}/collected')
    Path(folder, f'rank{rank}.json').write_text(json.dumps(metrics))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without gloo')
def test_two_processes_and_another_order_give_the_figures_of_one(tmp_path):
    alone = evaluate([6, 2, 5, 0, 3, 1, 4], size=7)
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(tmp_path)],
            env={**os.environ, 'PYTHONPATH': str(ROOT)}) for rank in range(2)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    first, second = (
        json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in range(2))
    assert first == second
    assert len(alone) == 27
    assert first == pytest.approx(alone, abs=1e-12)


if __name__ == '__main__':
    evaluate_rank(int(sys.argv[1]), sys.argv[2])
