# Copyright (c) CellVTA-MMSeg contributors.
"""The released config is the authors' code, number for number, at full size."""
import ast
import copy
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from run_tool import run_script

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
CONVERTER = 'model_converters/cellvta_to_mmseg.py'
TOLERANCE = 1e-3  # of logits that spread over 5 to 8
GOLDEN_NAMES = dict(
    np='nuclei_binary_map', hv='hv_map', nc='nuclei_type_map', tissue='tissue_types')


@pytest.fixture(scope='module')
def rules():
    if not SHARED.is_dir():
        pytest.skip('no folder ../shared with reference numbers')
    return runpy.run_path(str(SHARED / 'golden/rules.py'))


@pytest.fixture(scope='module')
def released(rules, tmp_path_factory):
    """A checkpoint in the authors' format (1.5 GB), its values made by rule."""
    lines = (SHARED / 'docs/cellvta_state_dict_keys_conic.tsv').read_text().splitlines()
    keys = [line.split('\t')[:2] for line in lines]
    state = {
        key: torch.from_numpy(
            np.asarray(rules['tensor_for'](key, ast.literal_eval(shape), 0)))
        for key, shape in keys
    }
    path = tmp_path_factory.mktemp('released') / 'model_best.pth'
    torch.save(dict(arch='CellViTUNIAdapter', epoch=49, model_state_dict=state), path)
    yield path
    path.unlink()


@pytest.fixture(scope='module')
def converted(released):
    path = released.with_name('converted.pth')
    run_script(CONVERTER, released, path)
    yield path
    path.unlink()


@pytest.fixture(scope='module')
def model(converted):
    init_default_scope('mmseg')
    cfg = Config.fromfile(ROOT / 'configs/cellvta_uni_conic_released.py')
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(converted), map_location='cpu', strict=True)
    return model.eval()


@pytest.fixture(scope='module')
def folded(model):
    """The form for inference; the frozen encoder is the same in both."""
    encoder, model.backbone.encoder = model.backbone.encoder, None
    folded = copy.deepcopy(model)
    folded.backbone.encoder = model.backbone.encoder = encoder
    folded.switch_to_deploy()
    return folded


@pytest.mark.parametrize('form', ['model', 'folded'])
@pytest.mark.parametrize('name, n, height, width, seed', [
    ('forward_conic_256', 1, 256, 256, 0),
    ('forward_conic_128x192', 2, 128, 192, 1),
])
def test_every_map_equals_the_released_one(
        request, form, rules, name, n, height, width, seed):
    model = request.getfixturevalue(form)
    golden = np.load(SHARED / f'golden/{name}.npz')
    image = torch.from_numpy(rules['image'](n, height, width, seed))
    with torch.no_grad():
        _, *features = model.extract_feat(image)
        outputs = model.decode_head([image, *features])
    for ours, theirs in GOLDEN_NAMES.items():
        np.testing.assert_allclose(
            outputs[ours].numpy(), golden[theirs], rtol=0, atol=TOLERANCE)
    # The 1/2 level of the form for inference is what the head has made of it.
    for level in range(form == 'folded', 4):
        np.testing.assert_allclose(
            features[level][:, ::37].numpy(), golden[f'f{level + 1}'], rtol=0,
            atol=TOLERANCE)


def test_parameter_counts_are_those_of_the_released_model(model):
    parameters = list(model.backbone.parameters()) + list(
        model.decode_head.parameters())
    assert sum(p.numel() for p in parameters) == 387_751_052
    assert sum(p.numel() for p in parameters if p.requires_grad) == 84_402_316


def test_conversion_and_back_gives_every_key_bit_for_bit(released, converted):
    path = converted.with_name('back.pth')
    run_script(CONVERTER, converted, path, '--reverse')
    before, after = (torch.load(p, weights_only=True, mmap=True)['model_state_dict']
                     for p in (released, path))
    assert before.keys() == after.keys() and len(after) == 898
    for key, value in before.items():
        assert after[key].dtype == value.dtype and torch.equal(after[key], value), key
    path.unlink()
