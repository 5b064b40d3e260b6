# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmseg.apis import inference_model
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from tiny_models import SEGMENTOR, build, square_sample

from mmseg_cellvta.configuration.network_scale import (
    announce_network_mpp,
    announced_network_mpp,
    fill_network_mpp,
    network_mpp,
)
from mmseg_cellvta.datasets.transforms import ResizeToMpp

RESIZE = dict(type='ResizeToMpp', source_mpp=0.5)


def sizes(mpp, **extra):
    model = build(SEGMENTOR, mpp=mpp, **extra)
    image = TRANSFORMS.build(RESIZE)(dict(img=np.zeros((64, 64, 3), np.uint8)))['img']
    return model.mpp, model.post_processor.mpp, len(image)


def test_data_and_post_processing_take_the_scale_of_the_model():
    assert sizes(0.25) == (0.25, 0.25, 128)
    assert sizes(0.5) == (0.5, 0.5, 64)


def test_a_post_processor_may_have_sizes_for_another_scale():
    own = dict(type='HoverPostProcessor', mpp=0.25)
    assert sizes(0.5, post_processor=own) == (0.5, 0.25, 64)


def test_a_config_of_before_states_the_scale_in_its_post_processor():
    own = dict(type='HoverPostProcessor', mpp=0.5)
    assert sizes(None, post_processor=own) == (0.5, 0.5, 64)
    assert sizes(None) == (0.25, 0.25, 128)


@pytest.mark.parametrize('mpp', [0, -1, 0.001, 40, float('nan'), float('inf')])
def test_a_scale_that_no_microscope_has_is_refused(mpp):
    own = dict(type='HoverPostProcessor', mpp=mpp)
    for model in (dict(mpp=mpp), dict(post_processor=own)):
        with pytest.raises(ValueError, match=f'model.mpp={mpp}: expected µm/px'):
            network_mpp(model)
    for name in ('mpp', 'source_mpp'):
        with pytest.raises(ValueError, match=f'^{name}={mpp}: expected µm/px'):
            TRANSFORMS.build(dict(type='ResizeToMpp', **{name: mpp}))


def test_a_pipeline_without_a_model_says_what_is_missing():
    announce_network_mpp(None)
    resize = TRANSFORMS.build(RESIZE)
    with pytest.raises(ValueError, match="the network's µm/px is not known"):
        resize(dict(img=np.zeros((8, 8, 3), np.uint8)))
    assert TRANSFORMS.build(dict(RESIZE, mpp=0.25)).mpp == 0.25


def test_a_resumed_run_has_the_scale_of_its_config():
    announce_network_mpp(0.5)
    checkpoint = MessageHub.get_current_instance().state_dict()
    announce_network_mpp(0.25)
    MessageHub.get_current_instance().load_state_dict(checkpoint)
    assert announced_network_mpp() == 0.25


@pytest.mark.parametrize('kind', [
    'ResizeToMpp', 'mmseg.ResizeToMpp', ResizeToMpp])
def test_a_pipeline_is_filled_however_it_names_the_step(kind):
    cfg = dict(pipeline=[dict(type='TestTimeAug', transforms=[[dict(type=kind)]])])
    fill_network_mpp(cfg, 0.4)
    assert cfg['pipeline'][0]['transforms'][0][0]['mpp'] == 0.4


def test_the_inference_api_keeps_the_scale_of_its_model():
    model = build(SEGMENTOR, mpp=0.25).eval()
    model.cfg = Config(dict(test_pipeline=[
        dict(type='LoadCellImage'), dict(RESIZE), dict(type='PackCellInputs')]))
    build(SEGMENTOR, mpp=1.0)  # another model, built later
    sample = inference_model(model, np.zeros((64, 64, 3), np.uint8))
    assert sample.network_mpp == 0.25 and sample.img_shape == (128, 128)


@pytest.mark.parametrize(('meta', 'refused'), [
    (dict(mpp=0.25), False), (dict(mpp=0.26), False), (dict(), False),
    (dict(mpp=0.5), True), (dict(mpp=0.25, network_mpp=0.5), True),
    (dict(mpp=0.27), True), (dict(mpp=0.23), True),
    (dict(mpp=0.5, network_mpp=0.25), False)])
@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_images_of_another_scale_are_refused(meta, refused, mode):
    model = build(SEGMENTOR, mpp=0.25).eval()
    samples = [square_sample('a_1', **meta)]
    assert isinstance(samples[0], SegDataSample)
    if not refused:
        with torch.no_grad():
            model(torch.zeros(1, 3, 64, 64), samples, mode=mode)
        return
    shown = list(meta.values())[-1]
    with pytest.raises(ValueError, match=f'a_1: shown to the network at {shown} µm/px, '
                                         'but model.mpp is 0.25'):
        model(torch.zeros(1, 3, 64, 64), samples, mode=mode)
