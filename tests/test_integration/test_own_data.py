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


@pytest.fixture(scope='module')
def checkpoint(converted, call):
    done = call(converted, ROOT / 'tools/train.py', CONFIG, '--cfg-options', *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    return (converted / 'work_dirs/cellvta_tiny_custom/last_checkpoint').read_text()


def is_collection(path):
    return json.loads(path.read_text())['type'] == 'FeatureCollection'


def test_a_trained_model_finds_cells_in_an_image(converted, checkpoint, call):
    """All that `make smoke` runs."""
    done = call(converted, ROOT / 'tools/infer.py', CONFIG, checkpoint,
                'own/images/a1.png', '--mpp', 0.4, '--out', 'found', '--cfg-options',
                *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert is_collection(converted / 'found/a1.geojson')


def test_one_class_and_images_of_any_size_are_tested(converted, checkpoint, call):
    done = call(converted, ROOT / 'tools/test.py', CONFIG, checkpoint,
                '--out', 'cells', '--cfg-options', *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    name, = (converted / 'data/custom/test.txt').read_text().split()
    assert is_collection(converted / f'cells/{name}.geojson')
    assert 'cell/bPQ' in json.loads((converted / 'cells/metrics.json').read_text())
