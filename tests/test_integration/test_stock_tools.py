# Copyright (c) CellVTA-MMSeg contributors.
"""MMSegmentation's own tools run the drop-in config of the documentation."""
import json
import re
import shutil
from pathlib import Path

import mmseg
import pytest
import timm
import torch

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
STOCK = Path(mmseg.__file__).parent / '.mim'
# The documented config, made small enough for a test.
SMALL = {
    "'published'": "'vit.pth'",
    "name='UNI'": "name='vit_tiny_patch16_224', init_values=1e-5, embed_dim=32, "
                  'depth=4, num_heads=2',
    'channels = 64': 'channels = 2',
    'max_iters = 100000': 'max_iters = 4',
    'val_interval=5000': 'val_interval=2',
    'interval=5000': 'interval=2',
    'num_workers=4': 'num_workers=0',
    'batch_size=8': 'batch_size=2',
    'data/conic': 'conic',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory, conic):
    """A folder elsewhere with data, encoder weights and the documented config."""
    folder = tmp_path_factory.mktemp('elsewhere')
    (folder / 'conic').symlink_to(conic)
    # The documented data set splits as the paper does; the drawn one has its own list.
    config = re.search(r'```python\n(.*?)```', (ROOT / 'docs/drop_in.md').read_text(),
                       re.S).group(1)
    for original, small in SMALL.items():
        assert original in config
        config = config.replace(original, small)
    config = config.replace("type='CoNICDataset'",
                            "type='CoNICDataset', sources_file='test_sources.json'")
    (folder / 'config.py').write_text(config)
    shutil.copytree(STOCK / 'configs/_base_', folder / '_base_')
    vit = timm.create_model('vit_tiny_patch16_224', embed_dim=32, depth=4, num_heads=2,
                            init_values=1e-5)
    torch.save(vit.state_dict(), folder / 'vit.pth')
    return folder


@pytest.fixture(scope='module')
def stock(call):
    """Runs a tool of MMSegmentation, which must succeed; returns what it printed."""

    def run(folder, tool, *arguments):
        done = call(folder, STOCK / 'tools' / tool, *arguments)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope='module')
def trained(folder, stock):
    stock(folder, 'train.py', 'config.py', '--work-dir', 'run')
    return folder


def test_training_writes_slim_checkpoints_that_hold_tensors_only(trained):
    checkpoint = torch.load(trained / 'run/iter_4.pth', weights_only=True)
    encoder = [key for key in checkpoint['state_dict'] if '.encoder.' in key]
    assert encoder == ['backbone.encoder.fingerprint']
    assert 'optimizer' in checkpoint and 'message_hub' in checkpoint
    assert list(trained.glob('run/best_cell_mPQ_*.pth'))


def test_resuming_continues_from_the_last_step(trained, stock):
    output = stock(trained, 'train.py', 'config.py', '--work-dir', 'run', '--resume',
                   '--cfg-options', 'train_cfg.max_iters=6')
    assert re.search(r'resumed epoch: \d+, iter: 4', output)
    assert (trained / 'run/iter_6.pth').exists()


def test_testing_scores_draws_and_writes_nuclei(trained, stock):
    stock(trained, 'test.py', 'config.py', 'run/iter_4.pth', '--work-dir', 'tested',
          '--out', 'nuclei', '--show-dir', 'drawn')
    names = json.loads((trained / 'conic/test_sources.json').read_text())
    images = list(trained.glob('drawn/**/vis_image/*.png'))
    nuclei = list((trained / 'nuclei').glob('*.geojson'))
    assert names and len(images) == len(nuclei) > 0
    assert all(json.loads(file.read_text())['type'] == 'FeatureCollection'
               for file in nuclei)
    scores, = (trained / 'tested').glob('*/*.json')
    named = json.loads(scores.read_text())
    assert {'cell/mPQ', 'cell/bPQ', 'cell/F1_det'} <= set(named)


def test_a_test_without_the_encoder_of_the_training_fails_with_the_reason(
        trained, call):
    done = call(trained, STOCK / 'tools/test.py', 'config.py', 'run/iter_4.pth',
                '--cfg-options', 'model.backbone.encoder.weights=None')
    assert done.returncode != 0
    assert 'was trained on another encoder' in done.stderr
