# Copyright (c) CellVTA-MMSeg contributors.
"""Fine-tuning to other classes, in a real training of a tiny model."""
import pytest
import torch
from tiny_models import DIMS, ENCODER, SEGMENTOR, build
from tiny_training import TwoImages, make_runner

from mmseg_cellvta.engine import NewClassesHook, NormalizationHook, PlainCheckpointHook
from mmseg_cellvta.models.encoders import TimmEncoder

CLASSES = [f'decode_head.branches.nc.levels.3.2.{kind}' for kind in ('weight', 'bias')]
TISSUES = dict(tissue_classes=('Breast', 'Colon'), tissue_channels=DIMS)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr('mmseg_cellvta.engine.new_classes_hook.print_log',
                        lambda message, logger: lines.append(message))
    return lines


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of 3 classes, whose weights are all other than initial ones."""
    return save(tmp_path / 'old.pth', build(SEGMENTOR))


def save(path, model):
    with torch.no_grad():
        for name, value in model.named_parameters():
            if 'encoder.vit' not in name:
                value.normal_()
    meta = dict(dataset_meta=dict(classes=('background', 'a', 'b')))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


def fine_tune(work_dir, model, checkpoint, hooks=(), **kwargs):
    """Loads as `tools/train.py` does; returns the runner before the first step."""
    runner = make_runner(
        work_dir, model, load_from=str(checkpoint),
        hooks=[NormalizationHook(), PlainCheckpointHook(), *hooks, NewClassesHook()],
        **kwargs)
    runner.call_hook('before_run')
    runner._init_model_weights()
    runner.load_or_resume()
    return runner


@pytest.mark.parametrize('num_classes', [2, 3, 5])
def test_all_weights_are_taken_but_those_of_the_classes(
        tmp_path, checkpoint, said, num_classes):
    model = build(SEGMENTOR, decode_head=dict(num_classes=num_classes))
    new = {key: model.state_dict()[key].clone() for key in CLASSES}
    fine_tune(tmp_path / 'work', model, checkpoint)
    old = torch.load(checkpoint, weights_only=True)['state_dict']
    for key, value in model.state_dict().items():
        assert torch.equal(value, new[key] if key in CLASSES else old[key]), key
    assert f'2 are left out: {", ".join(CLASSES)}; 2 begin anew' in said[0]


def test_training_goes_on_and_names_its_own_classes(tmp_path, checkpoint, said):
    model = build(SEGMENTOR, decode_head=dict(num_classes=2))
    runner = fine_tune(tmp_path / 'work', model, checkpoint)
    runner.train()
    saved = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=True)
    assert len(saved['state_dict'][CLASSES[0]]) == 2
    # Not those of the checkpoint.
    assert saved['meta']['dataset_meta'] == TwoImages.metainfo


def test_an_average_begins_with_the_same_weights(tmp_path, checkpoint, said):
    model = build(SEGMENTOR, decode_head=dict(num_classes=2))
    runner = fine_tune(
        tmp_path / 'work', model, checkpoint, hooks=[dict(type='EMAHook')])
    average = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model'))
    for key, value in average.ema_model.module.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


@pytest.mark.parametrize('before, after', [(True, False), (False, True), (True, True)])
def test_a_tissue_head_comes_and_goes(tmp_path, said, before, after):
    models = [
        build(SEGMENTOR, backbone=dict(out_cls_token=has),
              decode_head=TISSUES if has else {}) for has in (before, after)]
    checkpoint = save(tmp_path / 'old.pth', models[0])
    fine_tune(tmp_path / 'work', models[1], checkpoint)
    left_out = said[0].split(' are left out: ')[1].split(';')[0]
    assert ('decode_head.tissue_head.weight' in left_out) is before
    assert ('backbone.cls_norm.weight' in left_out) is (before and not after)
    if before and after:
        old = torch.load(checkpoint, weights_only=True)['state_dict']
        assert torch.equal(
            models[1].backbone.cls_norm.weight, old['backbone.cls_norm.weight'])


@pytest.mark.parametrize('changes, message', [
    (dict(decode_head=dict(channels=4)), r'it has .*\(1, 3, 3, 3\) instead of \(2, '),
    (dict(backbone=dict(num_extra_extractors=1)), 'it has besides .*extractors.2'),
    (dict(backbone=dict(num_extra_extractors=3)), 'it lacks .*extractors.3.* more'),
    (dict(backbone=dict(encoder=dict(ENCODER, depth=5))), 'it lacks .*blocks.4'),
    (dict(data_preprocessor=dict(mean=[1, 2, 3])), 'normalised by'),
])
def test_what_does_not_fit_besides_is_refused(tmp_path, checkpoint, changes, message):
    content = torch.load(checkpoint, weights_only=True)
    content['meta']['normalization'] = dict(mean=[127.5] * 3, std=[127.5] * 3)
    torch.save(content, checkpoint)
    changes.setdefault('decode_head', {}).update(num_classes=2)
    with pytest.raises(ValueError, match=message):
        fine_tune(tmp_path / 'work', build(SEGMENTOR, **changes), checkpoint)


def test_an_encoder_that_is_not_in_the_checkpoint_is_compared(tmp_path, said):
    for name in ('a', 'b'):
        torch.save(TimmEncoder(**ENCODER).vit.state_dict(), tmp_path / f'{name}.pth')
    models = {
        name: build(SEGMENTOR, decode_head=dict(num_classes=classes), backbone=dict(
            encoder=dict(ENCODER, weights=str(tmp_path / f'{name}.pth'))))
        for name, classes in (('a', 3), ('b', 2))}
    checkpoint = save(tmp_path / 'old.pth', models['a'])
    same = build(SEGMENTOR, decode_head=dict(num_classes=2), backbone=dict(
        encoder=dict(ENCODER, weights=str(tmp_path / 'a.pth'))))
    fine_tune(tmp_path / 'same', same, checkpoint)
    with pytest.raises(ValueError, match='trained on another encoder'):
        fine_tune(tmp_path / 'other', models['b'], checkpoint)


def test_a_resumed_run_takes_its_own_checkpoint_whole(tmp_path, checkpoint, said):
    model = build(SEGMENTOR, decode_head=dict(num_classes=2))
    fine_tune(tmp_path / 'work', model, checkpoint).train()
    again = build(SEGMENTOR, decode_head=dict(num_classes=2))
    runner = make_runner(tmp_path / 'work', again, epochs=2, resume=True,
                         hooks=[PlainCheckpointHook(), NewClassesHook()])
    runner.load_or_resume()
    for key in CLASSES:
        assert torch.equal(again.state_dict()[key], model.state_dict()[key])
    assert len(said) == 1


def test_without_the_hook_the_message_says_what_to_do(tmp_path, checkpoint):
    model = build(SEGMENTOR, decode_head=dict(num_classes=2))
    with pytest.raises(ValueError, match='predicts 3 classes.*model 2.*--fine-tune'):
        make_runner(tmp_path / 'work', model, load_from=str(checkpoint)).train()
