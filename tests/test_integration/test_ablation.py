# Copyright (c) CellVTA-MMSeg contributors.
"""An ablation that is stopped in the middle of a real training and continues."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    'model.backbone.encoder.embed_dim': 32,
    'model.backbone.encoder.depth': 4,
    'model.decode_head.in_channels': [3, 32, 32, 32, 32],
    'model.decode_head.channels': 2,
    'val_dataloader.dataset.split': 'test',
    'train_cfg.max_iters': 8,
    'train_cfg.val_interval': 8,
    'param_scheduler.0.total_steps': 8,
    'default_hooks.checkpoint.interval': 1} | {
    f'{part}_dataloader.{name}': value for part in ('train', 'val', 'test')
    for name, value in (('num_workers', 0), ('persistent_workers', False))}


def test_a_stopped_ablation_resumes(conic, tmp_path):
    config = str(ROOT / 'configs/cellvta_tiny_synthetic.py')
    (tmp_path / 'list.yml').write_text(yaml.safe_dump(dict(entries=[
        dict(name='good', config=config, options=OPTIONS)])))
    command = [sys.executable, ROOT / 'tools/analysis_tools/run_ablation.py',
               tmp_path / 'list.yml', tmp_path / 'work', '--data-root', conic]
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    first = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob('work/good-*/train/iter_2.pth')):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 130
    good, = tmp_path.glob('work/good-*')
    assert not (good / 'result.json').exists()

    second = subprocess.run(command, env=env, capture_output=True, text=True)
    assert second.returncode == 0, second.stdout + second.stderr
    assert 'resumed epoch: 0, iter: ' in (good / 'train_2.log').read_text()
    result = json.loads((good / 'result.json').read_text())
    assert {'bPQ', 'mPQ', 'F1_det'} <= set(result['metrics'])
    assert result['cost']['macs'] > 0 and result['train_s'] > 0
    assert '| good | 1/1 | 0.' in (tmp_path / 'work/table.md').read_text()
