# Copyright (c) CellVTA-MMSeg contributors.
"""Testing a checkpoint by the class names of a data set."""
import itertools

import pytest
from mmengine.runner import Runner
from tiny_models import SEGMENTOR, build
from tiny_training import TwoImages

from mmseg_cellvta.datasets import PanNukeCellDataset
from mmseg_cellvta.engine import ClassNamesHook
from mmseg_cellvta.models import CellTTAModel
from mmseg_cellvta.utils.plain_loading import CheckpointError

COUNTER = itertools.count()
OURS = TwoImages.metainfo['classes']


def start(work_dir, dataset_meta, tta=False, **metric):
    """Loads a checkpoint and comes to the begin of a test."""
    loader = dict(dataset=TwoImages(), batch_size=1, num_workers=0,
                  sampler=dict(type='DefaultSampler', shuffle=False))
    model = build(SEGMENTOR)
    runner = Runner(
        CellTTAModel(model) if tta else model, str(work_dir), test_dataloader=loader,
        test_cfg={}, test_evaluator=dict(
            type='CellInstanceMetric', radius_px=3.0, **metric),
        default_scope='mmseg', log_level='ERROR',
        experiment_name=f'{work_dir.name}-{next(COUNTER)}')
    hook = ClassNamesHook()
    hook.after_load_checkpoint(runner, dict(meta=dict(dataset_meta=dataset_meta)))
    hook.before_test(runner)


@pytest.mark.parametrize('meta', [
    dict(classes=OURS), dict(classes=list(OURS)), {}, None, dict(other=1)])
def test_the_same_names_or_none_are_tested(tmp_path, meta):
    start(tmp_path, meta)


@pytest.mark.parametrize('tta', [False, True])
@pytest.mark.parametrize(('classes', 'message'), [
    (('background', 'blue', 'red'),
     'classes background, blue, red, but is scored by background, red, blue;'),
    (('background', 'a', 'b'), 'classes background, a, b, but is scored by'),
    (('background', 'red'), 'names 2 classes .*predicts 3'),
    ((0, 1, 2), 'names a class 0,')])
def test_other_names_are_refused_in_one_sentence(tmp_path, classes, message, tta):
    with pytest.raises(CheckpointError, match=message) as error:
        start(tmp_path, dict(classes=classes), tta)
    assert '\n' not in str(error.value)


def test_names_of_the_data_set_of_the_training_count(tmp_path):
    """Where a model is scored in classes that two data sets share."""
    names = PanNukeCellDataset.METAINFO['classes']
    maps = dict(pred_dataset='PanNukeCellDataset',
                pred_map=dict.fromkeys(names[1:], 'cell'),
                true_map=dict.fromkeys(OURS[1:], 'cell'))
    with pytest.raises(CheckpointError, match='names 6 classes .*predicts 3'):
        start(tmp_path, dict(classes=names), class_maps=maps)
    with pytest.raises(CheckpointError, match=f'scored by {", ".join(names)};'):
        start(tmp_path, dict(classes=OURS), class_maps=maps)
