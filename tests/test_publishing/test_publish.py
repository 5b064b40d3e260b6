# Copyright (c) CellVTA-MMSeg contributors.
import json
import pickle

import pytest
import torch
import yaml
from mmengine.config import Config
from rule_segmentor import CLASSES, PALETTE, draw_slide
from safetensors import safe_open

from mmseg_cellvta.inference import CellInferencer
from mmseg_cellvta.inference.network import build_segmentor
from mmseg_cellvta.models.encoders.weights import fingerprint
from mmseg_cellvta.publishing import publish_model, push_model
from mmseg_cellvta.utils.model_folder import ModelFolder

FILES = ['README.md', 'config.json', 'model.json', 'weights.safetensors']


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_gives_the_same_cells_as_its_config_and_checkpoint(
        rule_model, published):
    image, *_ = draw_slide(150, 130)
    options = dict(device='cpu', num_workers=0, batch_size=2)
    first = CellInferencer(*rule_model, **options)(image, mpp=0.5)
    second = CellInferencer.from_pretrained(published.path, **options)(image, mpp=0.5)
    assert names(published.path) == FILES and len(first) > 5
    for name in ('centroids', 'labels', 'scores', 'class_probs'):
        assert (getattr(first, name) == getattr(second, name)).all()


def test_the_manifest_says_what_the_model_is(rule_model, tmp_path):
    folder = publish_model(
        Config.fromfile(rule_model[0]), rule_model[1], tmp_path / 'deep/nuclei',
        dict({'cell/mPQ': 0.5}), 'cc-by-4.0')
    manifest = json.loads((folder.path / 'model.json').read_text())
    assert manifest == folder.manifest
    assert (manifest['classes'], manifest['palette']) == (list(CLASSES), PALETTE)
    assert manifest['mpp'] == 0.5 and manifest['name'] == 'nuclei'
    assert manifest['normalization'] == dict(mean=[127.5] * 3, std=[127.5] * 3)
    assert manifest['encoder']['in_folder'] and manifest['scores'] == {'cell/mPQ': 0.5}
    assert manifest['licence'] == 'cc-by-4.0' and len(manifest['files']) == 2


def test_weights_are_tensors_only_bit_for_bit(rule_model, published):
    checkpoint = torch.load(rule_model[1])['state_dict']
    with safe_open(published.weights, 'pt') as tensors:
        assert set(tensors.keys()) == set(checkpoint)
        for key, value in checkpoint.items():
            assert tensors.get_tensor(key).equal(value)
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        pickle.loads(published.weights.read_bytes())


def test_a_frozen_encoder_of_the_table_stays_on_its_page(frozen_model, tmp_path):
    folder = publish_model(*frozen_model, tmp_path / 'nuclei')
    with safe_open(folder.weights, 'pt') as tensors:
        assert not [key for key in tensors.keys() if '.vit.' in key]
    encoder = folder.manifest['encoder']
    model = build_segmentor(folder.config, folder.weights)
    digest = bytes(fingerprint(model.backbone.encoder.vit).tolist()).hex()
    assert encoder == dict(
        name='Tiny', frozen=True, in_folder=False, page='lab/tiny',
        licence='CC-BY-NC-4.0', fingerprint=digest)
    assert folder.config.model.backbone.encoder.weights == 'published'


def test_with_encoder_it_needs_no_page(frozen_model, hub, tmp_path):
    folder = publish_model(*frozen_model, tmp_path / 'nuclei', with_encoder=True)
    hub.repositories.clear()
    model = build_segmentor(folder.config, folder.weights)
    again = ModelFolder(folder.path).manifest['encoder']
    assert again['in_folder'] and again['fingerprint'] == bytes(
        fingerprint(model.backbone.encoder.vit).tolist()).hex()


def test_an_encoder_that_others_cannot_fetch_is_refused(
        frozen_model, hub, tmp_path):
    cfg, checkpoint = frozen_model
    weights = tmp_path / 'vit.safetensors'
    kwargs = dict(embed_dim=32, depth=4, num_heads=2, img_size=64, init_values=1e-5)
    cfg.model.backbone.encoder = dict(
        name='vit_tiny_patch16_224', weights=str(weights), frozen=True, **kwargs)
    cfg.model.data_preprocessor.update(mean=[127.5] * 3, std=[127.5] * 3)
    with pytest.raises(ValueError, match='not in the table .* add --with-encoder'):
        publish_model(cfg, checkpoint, tmp_path / 'nuclei')
    assert publish_model(cfg, checkpoint, tmp_path / 'nuclei', with_encoder=True)


def test_a_file_of_the_encoder_becomes_its_page(frozen_model, hub, tmp_path):
    cfg, checkpoint = frozen_model
    cfg.model.backbone.encoder.weights = str(tmp_path / 'vit.safetensors')
    page = hub.repositories.pop('lab/tiny')
    folder = publish_model(cfg, checkpoint, tmp_path / 'nuclei')
    assert folder.config.model.backbone.encoder.weights == 'published'
    hub.repositories['lab/tiny'] = page
    build_segmentor(folder.config, folder.weights)


@pytest.mark.parametrize('name', [
    'work_dir', 'load_from', 'resume', 'launcher', 'custom_imports'])
def test_what_belongs_to_a_run_is_left_out(rule_model, tmp_path, name):
    cfg = Config.fromfile(rule_model[0])
    cfg[name] = '/home/me/private'
    folder = publish_model(cfg, rule_model[1], tmp_path / 'nuclei')
    assert 'private' not in (folder.path / 'config.json').read_text()


@pytest.mark.parametrize('prepare', [
    lambda path: path.mkdir(), lambda path: path.write_text('own')])
def test_what_has_the_name_already_is_kept(rule_model, tmp_path, prepare):
    prepare(tmp_path / 'nuclei')
    with pytest.raises(FileExistsError, match='nuclei: exists already'):
        publish_model(Config.fromfile(rule_model[0]), rule_model[1],
                      tmp_path / 'nuclei')


@pytest.mark.parametrize('spoil', [
    lambda cfg: cfg.model.decode_head.update(num_classes=5),
    lambda cfg: cfg.update(strange=object())])
def test_after_an_error_nothing_is_left(rule_model, tmp_path, spoil):
    cfg = Config.fromfile(rule_model[0])
    spoil(cfg)
    with pytest.raises(ValueError, match=r'does not fit|config.strange: object'):
        publish_model(cfg, rule_model[1], tmp_path / 'out/nuclei')
    assert not list((tmp_path / 'out').glob('*'))


def test_the_card_has_front_matter_and_asks(frozen_model, tmp_path):
    folder = publish_model(*frozen_model, tmp_path / 'nuclei', {
        'cell/mPQ': 0.512345, 'cell/F1_red': 0.25})
    card = (folder.path / 'README.md').read_text()
    _, front, text = card.split('---\n', 2)
    front = yaml.safe_load(front)
    assert front['license'] == 'other' and front['base_model'] == 'lab/tiny'
    assert 'nuclei-segmentation' in front['tags']
    assert front['metrics'] == [
        'panoptic quality (mPQ): mean over classes, then over images',
        'F1 score of red']
    assert '| panoptic quality (mPQ): mean over classes, then over images | 0.5123 |' \
        in text
    assert text.count('**To be completed:**') == 4
    assert '| 1 | red |' in text and '0.5 µm/px' in text and '$' not in text
    assert '[Tiny](https://huggingface.co/lab/tiny), kept frozen' in text


def test_push_uploads_the_four_files(published, hub, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'hf_test')
    (published.path / 'own notes.txt').write_text('private')
    assert '/lab/nuclei/commit/' in push_model(published, 'lab/nuclei')
    assert hub.repositories['lab/nuclei'] == {
        name: (published.path / name).read_bytes() for name in FILES}


def test_a_push_without_a_token_is_one_sentence(published, hub):
    with pytest.raises(OSError, match='--push lab/nuclei: .*hf auth login'):
        push_model(published, 'lab/nuclei')
