# Copyright (c) CellVTA-MMSeg contributors.
"""Our tools on a real config: what the stock tools' tests do not reach."""
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/cellvta_tiny_synthetic.py'
SMALL = [
    'model.backbone.encoder.embed_dim=32', 'model.backbone.encoder.depth=4',
    'model.decode_head.in_channels=[3,32,32,32,32]', 'model.decode_head.channels=2',
    'train_dataloader.num_workers=1', 'val_dataloader.num_workers=1',
    'test_dataloader.num_workers=1', 'test_dataloader.dataset.indices=[0,1]',
    'val_dataloader.dataset.indices=[0]', 'train_cfg.max_iters=1',
    'train_cfg.val_interval=1',
    # Two source images are too few for a third part.
    'val_dataloader.dataset.split=test', 'train_dataloader.dataset.val_share=0'
]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, call, conic):
    folder = tmp_path_factory.mktemp('own')
    (folder / 'data').mkdir()
    (folder / 'data/synthetic_conic').symlink_to(conic)
    done = call(folder, ROOT / 'tools/train.py', CONFIG, '--cfg-options', *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_training_saves_under_the_name_of_the_config(trained):
    assert (trained / 'work_dirs/cellvta_tiny_synthetic/last_checkpoint').exists()


def test_flipped_views_are_averaged_and_scored(trained, call):
    work_dir = trained / 'work_dirs/cellvta_tiny_synthetic'
    checkpoint = (work_dir / 'last_checkpoint').read_text()
    done = call(trained, ROOT / 'tools/test.py', CONFIG, checkpoint, '--tta', '--out',
                'cells', '--cfg-options', *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((trained / 'cells').glob('*.geojson'))) == 2
    assert 'cell/bPQ' in json.loads((trained / 'cells/metrics.json').read_text())


def test_missing_data_ends_before_training_and_names_the_folder(tmp_path, call):
    done = call(tmp_path, ROOT / 'tools/train.py', CONFIG)
    assert done.returncode != 0
    assert 'data/synthetic_conic' in done.stderr.splitlines()[-1]
