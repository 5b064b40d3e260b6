# Copyright (c) CellVTA-MMSeg contributors.
"""A checkpoint with hidden code, on each way into the tools and the package."""
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from rule_segmentor import CONFIG
from run_tool import TOOLS, run_tool
from tiny_models import build
from unsafe_checkpoints import write_unsafe

from mmseg_cellvta.engine.cell_classifier_training import load_segmentor
from mmseg_cellvta.inference import CellInferencer
from mmseg_cellvta.inference.lazyslide_model import LazySlideModel
from mmseg_cellvta.utils.images import write_image

LOADER = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'), dataset=dict(type='TwoImages'))


@pytest.fixture
def paths(tmp_path):
    """Paths of a config, a checkpoint with hidden code, what it makes, an image."""
    found = SimpleNamespace(
        config=tmp_path / 'config.py', checkpoint=tmp_path / 'unsafe.pth',
        marker=tmp_path / 'marker', image=tmp_path / 'image.png', out=tmp_path / 'out')
    state_dict = build(CONFIG['model']).state_dict()
    write_unsafe(found.checkpoint, found.marker, state_dict, dataset_meta=dict(
        classes=('background', 'red', 'blue')))
    write_image(found.image, np.full((32, 32, 3), 240, np.uint8))
    write_config(found)
    return found


def write_config(paths, **changes):
    Config(dict(
        CONFIG, custom_imports=dict(
            imports=['rule_segmentor', 'tiny_training'], allow_failed_imports=False),
        train_dataloader=LOADER, train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
        test_dataloader=LOADER, test_cfg={}, test_evaluator=dict(
            type='CellInstanceMetric', radius_px=3.0), **changes)).dump(paths.config)


def infer(paths, *options):
    return run_tool('infer.py', paths.config, paths.checkpoint, paths.image, '--out',
                    paths.out, '--mpp', 0.5, '--device', 'cpu', '--batch-size', 1,
                    '--num-workers', 0, '--quiet', *options)


def run_test(paths, *options):
    return run_tool('test.py', paths.config, paths.checkpoint, '--work-dir', paths.out,
                    *options)


def train(paths, *options):
    return run_tool('train.py', paths.config, '--work-dir', paths.out, *options)


def train_from_weights(paths):
    return train(paths, '--cfg-options', f'load_from={paths.checkpoint}')


def train_from_pretrained(paths):
    pretrained = dict(type='Pretrained', checkpoint=str(paths.checkpoint))
    write_config(paths, model=dict(CONFIG['model'], init_cfg=pretrained))
    return train(paths)


def resume(paths):
    return train(paths, '--resume', '--cfg-options', f'load_from={paths.checkpoint}')


def resume_the_latest(paths):
    paths.out.mkdir()
    (paths.out / 'last_checkpoint').write_text(str(paths.checkpoint))
    return train(paths, '--resume')


def train_classifier(paths):
    write_config(paths, model=dict(
        CONFIG['model'], type='ReclassifyingRuleSegmentor',
        cell_classifier=dict(type='CellClassifier', num_classes=3)))
    return run_tool('train_cell_classifier.py', paths.config, paths.checkpoint,
                    '--work-dir', paths.out)


def convert(tool):
    return lambda paths: run_tool(
        f'model_converters/{tool}_to_mmseg.py', paths.checkpoint, paths.out / 'a.pth')


def in_python(function):
    """The error that a function raises, as a tool would end with it."""
    def call(paths):
        with pytest.raises(ValueError) as error:
            function(paths)
        return str(error.value)
    return call


def lazyslide(paths):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'lazyslide_models',
                      SimpleNamespace(SegmentationOutput=tuple))
        LazySlideModel(paths.config, paths.checkpoint)


WAYS = dict(
    infer=infer, test=run_test, train_from_weights=train_from_weights,
    train_from_pretrained=train_from_pretrained, resume=resume,
    resume_the_latest=resume_the_latest, train_classifier=train_classifier,
    convert_cellvta=convert('cellvta'), convert_cellvit=convert('cellvit'),
    inferencer=in_python(lambda paths: CellInferencer(paths.config, paths.checkpoint)),
    lazyslide=in_python(lazyslide),
    classifier=in_python(lambda paths: load_segmentor(
        dict(CONFIG['model'], type='ReclassifyingRuleSegmentor',
             cell_classifier=dict(type='CellClassifier', num_classes=3)),
        str(paths.checkpoint))))


@pytest.mark.parametrize('way', WAYS)
def test_code_is_named_and_does_not_run(paths, way):
    error = WAYS[way](paths)
    assert not paths.marker.exists()
    assert 'unsafe.pth: holds ' in error and 'system besides tensors' in error
    assert '--trust' in error and '\n' not in error


def test_the_encoders_weights_are_named_too(paths):
    encoder = dict(CONFIG['model']['backbone']['encoder'], weights=str(
        paths.checkpoint))
    with pytest.raises(ValueError, match='unsafe.pth: holds .*system besides tensors'):
        build(dict(CONFIG['model']['backbone'], encoder=encoder))
    assert not paths.marker.exists()


@pytest.mark.parametrize('way', [infer, run_test])
def test_trust_reads_the_same_file(paths, way):
    assert way(paths, '--trust') == 0
    assert paths.marker.exists()


def test_a_program_in_the_meta_is_not_run_on_resuming(paths):
    """MMEngine executes the text of `config` to count GPUs."""
    content = torch.load(paths.checkpoint, weights_only=False)
    paths.marker.unlink()
    content['meta']['config'] = f'open({str(paths.marker)!r}, "w")'
    del content['meta']['hidden']
    torch.save(dict(content, message_hub=dict(
        log_scalars={}, runtime_info={}, resumed_keys={})), paths.checkpoint)
    assert resume(paths) == 0
    assert not paths.marker.exists()


@pytest.mark.integration
def test_a_tool_ends_with_one_sentence(paths):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', TOOLS / 'test.py', paths.config,
         paths.checkpoint, '--work-dir', paths.out], capture_output=True, text=True,
        env=dict(PYTHONPATH=f'{TOOLS.parent}:{TOOLS.parent / "tests"}'))
    assert done.returncode == 1 and not paths.marker.exists()
    assert 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f'error: {paths.checkpoint}: holds')
