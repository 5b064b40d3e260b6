# Copyright (c) CellVTA-MMSeg contributors.
"""Models from a hub on this machine, and what is said when they do not arrive."""
import json

import pytest
from huggingface_hub import constants
from mmengine.config import Config
from model_folders import put_encoder

from mmseg_cellvta.inference.network import build_segmentor
from mmseg_cellvta.publishing import publish_model
from mmseg_cellvta.utils.model_folder import file_digest, open_model

NAME = 'hf://lab/nuclei'


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def on_hub(published, hub):
    hub.repositories['lab/nuclei'] = files_of(published.path)
    return hub


@pytest.mark.parametrize('suffix', ['', '@v1'])
def test_what_is_pulled_is_what_was_pushed(published, on_hub, suffix):
    pulled = open_model(NAME + suffix)
    assert files_of(pulled.path) == files_of(published.path)
    assert pulled.config.to_dict() == published.config.to_dict()
    model, own = (build_segmentor(folder.config, folder.weights)
                  for folder in (pulled, published))
    for one, two in zip(model.state_dict().values(), own.state_dict().values(),
                        strict=True):
        assert one.equal(two)


def test_a_second_time_nothing_is_downloaded(on_hub):
    open_model(NAME)
    on_hub.requests.clear()
    open_model(NAME)
    assert not [path for method, path in on_hub.requests
                if method == 'GET' and 'resolve' in path]


def test_an_interrupted_download_is_said_and_goes_on(on_hub, published, monkeypatch):
    on_hub.cut = 2000
    with pytest.raises(OSError, match=f'{NAME}: could not be fetched') as error:
        open_model(NAME)
    assert len(str(error.value).splitlines()) == 1
    on_hub.cut = None
    on_hub.requests.clear()
    assert files_of(open_model(NAME).path) == files_of(published.path)


def test_offline_the_cache_is_enough(on_hub, published, monkeypatch):
    open_model(NAME)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    on_hub.requests.clear()
    assert files_of(open_model(NAME).path) == files_of(published.path)
    assert on_hub.requests == []


def test_offline_without_a_cache(on_hub, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(OSError, match=f'{NAME}: could not be fetched .*the cache does '
                       'not have it'):
        open_model(NAME)


@pytest.mark.parametrize('name, said', [
    ('hf://lab/other', 'no such model, or a private one'),
    ('hf://lab/nuclei@v9', "no revision 'v9'"),
    ('hf://nuclei', 'expected hf://owner/name'),
    ('hf://lab/nuclei@', 'expected hf://owner/name'),
    ('hf://lab/../etc', 'expected hf://owner/name')])
def test_what_is_not_there_is_said(on_hub, name, said):
    with pytest.raises(ValueError) as error:
        open_model(name)
    assert str(error.value).startswith(f'{name}: {said}')


def test_a_gated_model_says_where_to_ask(on_hub):
    on_hub.gated.add('lab/nuclei')
    with pytest.raises(ValueError, match=f'{NAME}: its owners give access on request'):
        open_model(NAME)


def flip(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def edit(folder, **changes):
    manifest = json.loads((folder / 'model.json').read_text())
    (folder / 'model.json').write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize('damage, said', [
    (lambda folder: flip(folder, 'weights.safetensors'), 'weights.*SHA-256 differs'),
    (lambda folder: flip(folder, 'config.json'), 'config.json: .*its SHA-256 differs'),
    (lambda folder: (folder / 'weights.safetensors').unlink(), 'weights.*is missing'),
    (lambda folder: (folder / 'config.json').unlink(), 'config.json: is missing'),
    (lambda folder: (folder / 'model.json').write_text('{'), 'model.json: damaged'),
    (lambda folder: (folder / 'model.json').write_text('[]'), 'expected an object'),
    (lambda folder: edit(folder, version=2), 'version 2 .*install a newer'),
    (lambda folder: edit(folder, files={}), 'its SHA-256 differs'),
    (lambda folder: (folder / 'model.json').unlink(), 'expected a model folder')])
def test_a_damaged_folder_is_refused(published, damage, said):
    damage(published.path)
    with pytest.raises(ValueError, match=said):
        open_model(published.path)


@pytest.mark.parametrize('kind', [
    'os.system', 'subprocess.Popen', 'a.b.C', 'mmseg.a.B'])
def test_a_config_cannot_name_what_no_registry_has(rule_model, published, kind):
    path = published.path / 'config.json'
    config = json.loads(path.read_text())
    config['model']['decode_head']['loss_np'][0]['type'] = kind
    path.write_text(json.dumps(config))
    edit(published.path, files={
        name: file_digest(published.path / name)
        for name in ('config.json', 'weights.safetensors')})
    with pytest.raises(ValueError, match=f'type {kind!r}; expected the name of a reg'):
        build_segmentor(open_model(published.path).config, published.weights)


def test_another_encoder_on_the_page_is_refused(frozen_model, hub, tmp_path):
    folder = publish_model(*frozen_model, tmp_path / 'nuclei')
    put_encoder(hub, tmp_path, seed=1)
    with pytest.raises(ValueError, match='trained on another encoder than Tiny'):
        build_segmentor(folder.config, folder.weights)


def test_a_gated_encoder_without_a_token_is_said(
        frozen_model, hub, tmp_path, monkeypatch):
    folder = publish_model(*frozen_model, tmp_path / 'nuclei')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'empty'))
    hub.gated.add('lab/tiny')
    with pytest.raises(OSError, match='ask for access at .*lab/tiny'):
        build_segmentor(folder.config, folder.weights)


def test_configs_of_tuples_come_back_as_what_they_were(rule_model, published):
    before, after = (json.loads(json.dumps(cfg.model.to_dict())) for cfg in (
        Config.fromfile(rule_model[0]), published.config))
    before['backbone']['encoder']['weights'] = None
    assert after.items() >= before.items()
