# Copyright (c) CellVTA-MMSeg contributors.
"""A user's own folder, from its files to cells for QuPath."""
import json
from pathlib import Path

import pytest
from own_data import write_image, write_labels

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/cellvta_tiny_custom.py'
SMALL = [
    'model.backbone.encoder.embed_dim=32', 'model.backbone.encoder.depth=4',
    'model.decode_head.in_channels=[3,32,32,32,32]', 'model.decode_head.channels=2',
    'train_dataloader.num_workers=1', 'train_cfg.max_iters=2',
    'train_cfg.val_interval=2'
]


@pytest.fixture(scope='module')
def converted(tmp_path_factory, call):
    """Outlines of one class, in images larger and smaller than a crop."""
    folder = tmp_path_factory.mktemp('own')
    for i, shape in enumerate([(300, 90), (60, 60), (80, 290), (64, 200)]):
        write_image(folder / f'own/images/a{i}.png', shape)
        write_labels(folder / f'own/labels/a{i}.geojson', shape)
    done = call(folder, ROOT / 'tools/dataset_converters/custom.py', 'own',
                'data/custom', '--classes', 'nucleus', '--mpp', 0.4)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'num_classes = 2' in done.stdout
    return folder


def test_one_class_and_images_of_any_size_train_test_and_find(converted, call):
    done = call(converted, ROOT / 'tools/train.py', CONFIG, '--cfg-options', *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = converted / 'work_dirs/cellvta_tiny_custom/last_checkpoint'
    done = call(converted, ROOT / 'tools/test.py', CONFIG, checkpoint.read_text(),
                '--out', 'cells', '--cfg-options', *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    name, = (converted / 'data/custom/test.txt').read_text().split()
    content = json.loads((converted / f'cells/{name}.geojson').read_text())
    assert content['type'] == 'FeatureCollection'
    assert 'cell/bPQ' in json.loads((converted / 'cells/metrics.json').read_text())
    done = call(converted, ROOT / 'tools/infer.py', CONFIG, checkpoint.read_text(),
                'own/images/a1.png', '--mpp', 0.4, '--out', 'found', '--cfg-options',
                *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    content = json.loads((converted / 'found/a1.geojson').read_text())
    assert content['type'] == 'FeatureCollection'
