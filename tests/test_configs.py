# Copyright (c) CellVTA-MMSeg contributors.
import ast
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hooks import CheckpointHook
from mmseg.registry import DATASETS, HOOKS, MODELS
from tiny_models import square_sample

from mmseg_cellvta.configuration.configs import SETTINGS, inner_configs, load_config
from mmseg_cellvta.inference import CellInferencer
from mmseg_cellvta.inference.tiles import plan_tiles
from mmseg_cellvta.models.encoders import read_encoder_table
from mmseg_cellvta.utils.complexity import measure_complexity

ROOT = Path(__file__).resolve().parents[1]
ALL = sorted(path for path in ROOT.glob('configs/**/*.py') if '_base_' not in str(path))
# The others train on nuclei (tests/test_engine) or only test (test_transfer_configs).
LEAVES = [path for path in ALL if path.parent.name != 'transfer'
          and not path.stem.startswith('cell_classifier')]
EDITED = '# ---- what people edit ----'
TINY = dict(
    name='vit_tiny_patch16_224', weights=None, embed_dim=32, depth=4, num_heads=2)


@pytest.fixture(params=LEAVES, ids=lambda path: path.stem)
def cfg(request):
    return Config.fromfile(request.param)


def edited_names(path):
    """The values that a config offers at its top, by name."""
    text = path.read_text()
    if EDITED not in text:
        return {}
    first = text[:text.index(EDITED)].count('\n')
    last = first + text[text.index(EDITED):].split('\n\n')[0].count('\n') + 1
    cfg = Config.fromfile(path)
    return {node.targets[0].id: cfg[node.targets[0].id]
            for node in ast.parse(text).body if first < node.lineno <= last}


def another(value):
    """A value of the same kind, as text of the command line."""
    if isinstance(value, str) or value is None:
        return '/elsewhere'
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, (list, tuple)):
        return f'[{",".join(map(str, value[:-1]))}]'
    return str(2 * value + 1)


def used_part(cfg):
    return {key: value for key, value in cfg.items() if key in SETTINGS}


@pytest.mark.parametrize(('path', 'name'), [
    pytest.param(path, name, id=f'{path.stem}-{name}')
    for path in ALL for name in edited_names(path)])
def test_a_value_at_the_top_works_from_the_command_line(path, name):
    before = Config.fromfile(path)
    value = before[name]
    key = name
    if isinstance(value, dict):  # such as randomness
        inner, value = next(iter(value.items()))
        key = f'{name}.{inner}'
    after = load_config(path, [f'{key}={another(value)}'])
    assert used_part(after) != used_part(before)
    if name == 'data_root':
        roots = {inner.get('data_root') for part in ('train', 'val', 'test')
                 for inner in inner_configs(after[f'{part}_dataloader'].dataset)}
        assert roots - {None} == {'/elsewhere'}


def test_a_config_offers_what_people_edit():
    names = {path.stem: set(edited_names(path)) for path in ALL}
    assert names['cellvta_uni_custom'] == {
        'encoder_weights', 'data_root', 'num_classes', 'mpp', 'max_iters', 'batch_size',
        'learning_rate'}
    assert sum(map(len, names.values())) > 40


def shrink(model):
    """Makes the model of a config tiny and random."""
    model.decode_head.update(channels=4)
    for name in ('bottleneck_channels', 'path_channels'):
        model.decode_head.pop(name, None)
    if 'encoder' not in model.backbone:  # a ResNet
        model.backbone.update(
            depth=18, base_channels=8, stem_channels=8, init_cfg=None)
        model.decode_head.in_channels = [3, 8, 16, 32, 64]
        return
    model.decode_head.in_channels = [3, 32, 32, 32, 32]
    is_sam = model.backbone.encoder.name.startswith('SAM')
    model.backbone.encoder.update(TINY)
    if is_sam:
        model.backbone.encoder.name = 'samvit_base_patch16'


def test_leaf_configs_are_short():
    too_long = [path.name for path in ALL if len(path.read_text().splitlines()) > 60]
    assert ALL and too_long == []


def test_the_configs_of_the_documentation_exist():
    assert {path.stem for path in LEAVES} >= {
        'cellvta_uni_conic', 'cellvta_uni_conic_released', 'cellvta_tiny_synthetic',
        'cellvta_tiny_consep', 'cellvta_tiny_custom', 'cellvta_uni_custom',
        'cellvta_small_conic',
        'cellvta_uni_pannuke', 'cellvta_uni_pannuke_split2',
        'cellvit_tiny_consep', 'cellvit_uni_conic', 'cellvit_uni_pannuke',
        'cellvit_sam_b_pannuke', 'cellvit_256_pannuke', 'hovernet_r50_conic',
        'cellvta_uni_pannuke_split3', 'cellvta_uni_pannuke_released'
    }


def test_one_custom_import_is_all(cfg):
    assert cfg.custom_imports.imports == ['mmseg_cellvta']
    assert cfg.custom_imports.allow_failed_imports is False


@pytest.mark.parametrize('path', ALL, ids=lambda path: path.stem)
def test_testing_and_inference_show_images_at_the_same_scale(path, tmp_path):
    cfg = Config.fromfile(path)
    shrink(cfg.model)
    model = MODELS.build(cfg.model)
    names = [f'class {index}' for index in range(model.num_result_classes)]
    torch.save(dict(state_dict=model.state_dict(), meta=dict(
        dataset_meta=dict(classes=names))), tmp_path / 'model.pth')
    image = np.zeros((200, 300, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    own_mpp = 0.33  # of the image, µm/px: no config's
    # As the Runner does: first the model, then the data.
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    tested = pipeline(dict(img_path=str(tmp_path / 'a.png'), mpp=own_mpp))
    inferencer = CellInferencer(cfg, tmp_path / 'model.pth', device='cpu')
    canvas = inferencer.prepare(image, mpp=own_mpp).canvas
    assert tested['inputs'].shape[1:] == canvas.shape
    assert tested['data_samples'].network_mpp == canvas.mpp == model.mpp
    assert canvas.shape == (round(200 * own_mpp / model.mpp),
                            round(300 * own_mpp / model.mpp))


def test_the_scale_is_one_number_of_a_config(cfg):
    text = cfg.pretty_text
    assert cfg.model.mpp > 0 and "type='ResizeToMpp'" in text
    assert 'ResizeToMpp, mpp' not in text
    if 'released' not in cfg.filename:  # whose sizes are meant for another scale
        assert 'mpp' not in cfg.model.post_processor


def test_what_the_tools_ask_for_is_there(cfg):
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg',
                 'val_cfg', 'test_cfg', 'optim_wrapper', 'param_scheduler',
                 'test_pipeline', 'tta_pipeline', 'tta_model', 'visualizer'):
        assert name in cfg, name
    assert isinstance(cfg.test_evaluator, dict)  # a list cannot take --out
    assert cfg.default_hooks.visualization.type == 'CellVisualizationHook'


def test_best_checkpoint_follows_mpq(cfg):
    hook = HOOKS.build(cfg.default_hooks.checkpoint)
    assert isinstance(hook, CheckpointHook)
    assert hook.save_best == ['cell/mPQ'] and hook.rules == ['greater']


def test_epochs_or_iterations_are_counted_everywhere_alike(cfg):
    by_epoch = cfg.train_cfg.type == 'EpochBasedTrainLoop'
    assert cfg.log_processor.by_epoch is by_epoch
    assert cfg.default_hooks.checkpoint.by_epoch is by_epoch
    assert cfg.default_hooks.logger.log_metric_by_epoch is by_epoch


def test_checkpoints_stay_plain(cfg):
    assert 'PlainCheckpointHook' in [hook.type for hook in cfg.custom_hooks]


def test_test_pipelines_load_labels_at_the_original_size(cfg):
    names = [step.type for step in cfg.test_pipeline]
    assert names.index('LoadCellAnnotations') > names.index('ResizeToMpp')


def test_inference_can_cut_the_tiles_of_testing(cfg):
    test_cfg = cfg.model.test_cfg
    if test_cfg.mode == 'whole':
        pytest.skip('tests whole images: inference has tiles of its own')
    tile, stride = test_cfg.crop_size, test_cfg.stride
    overlap = [side - step for side, step in zip(tile, stride, strict=True)]
    plan = plan_tiles((1000, 1000), tile, overlap, margin=64)
    assert (plan.tile, plan.stride) == (tuple(tile), tuple(stride))


def test_model_builds_and_segments_with_a_tiny_encoder(cfg):
    shrink(cfg.model)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 64, 64), mode='tensor')
        sample, = model(torch.zeros(1, 3, 64, 64), mode='predict')
    data = cfg.test_dataloader.dataset
    # Your own data has the classes that its folder says; the config has their number.
    classes = (2 if data.get('class_agnostic') else
               len(DATASETS.get(data.type).METAINFO.get('classes', ())) or
               cfg.num_classes)
    assert maps['nc'].shape == (1, classes, 64, 64)
    assert sample.pred_inst_map.shape == (64, 64)


def test_encoder_weights_of_the_paper_are_one_value_at_the_top():
    cfg = Config.fromfile(ROOT / 'configs/cellvta_uni_conic.py')
    assert cfg.encoder_weights == cfg.model.backbone.encoder.weights
    assert cfg.model.backbone.cls_token == 'in_blocks'
    assert cfg.model.backbone.injector_init == 0


@pytest.mark.parametrize(('name', 'mean', 'std'), [
    ('cellvta_uni_conic', [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    ('cellvta_uni_pannuke_released', [127.5] * 3, [127.5] * 3),
    ('cellvta_uni_conic_released', [127.5] * 3, [127.5] * 3),
    ('cellvta_h_optimus_0_conic', [180.3419, 147.5759, 179.4223],
     [54.0302, 58.6798, 45.2668]),
    ('cellvta_virchow2_pannuke', [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    ('cellvta_small_conic', [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    ('cellvta_tiny_consep', [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
])
def test_images_are_normalized_as_the_encoder_was_trained(name, mean, std):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    # Another width and depth, but the same encoder.
    cfg.model.backbone.encoder.update(
        weights=None, embed_dim=32, depth=4, num_heads=2)
    cfg.model.decode_head.channels = 4
    preprocessor = MODELS.build(cfg.model).data_preprocessor
    assert preprocessor.mean.flatten().tolist() == pytest.approx(mean, abs=1e-3)
    assert preprocessor.std.flatten().tolist() == pytest.approx(std, abs=1e-3)


@pytest.mark.parametrize(('name', 'base', 'encoder'), [
    ('cellvta_h_optimus_0_conic', 'cellvta_uni_conic', 'H-optimus-0'),
    ('cellvta_virchow2_pannuke', 'cellvta_uni_pannuke', 'Virchow2'),
])
def test_another_encoder_is_one_line(name, base, encoder):
    models = [Config.fromfile(ROOT / f'configs/{stem}.py').model
              for stem in (name, base)]
    models[1].backbone.encoder.name = encoder
    assert models[0] == models[1]
    assert models[0].backbone.encoder.weights == 'published'


def test_the_small_model_takes_at_most_45_g_multiply_adds():
    model = Config.fromfile(ROOT / 'configs/cellvta_small_conic.py').model
    assert read_encoder_table()[model.backbone.encoder.name]['embed_dims'] == 384
    assert model.backbone.encoder.frozen
    assert measure_complexity(model, (256, 256), batch_size=1).macs <= 45e9


def test_released_config_asks_for_no_download():
    cfg = Config.fromfile(ROOT / 'configs/cellvta_uni_conic_released.py')
    assert cfg.model.backbone.encoder.weights is None


@pytest.mark.parametrize(('name', 'folds'), [
    ('', (1, 2, 3)), ('_split2', (2, 1, 3)), ('_split3', (3, 2, 1)),
    ('_released', (1, 2, 3))])
def test_pannuke_is_trained_by_the_published_protocol(name, folds):
    cfg = Config.fromfile(ROOT / f'configs/cellvta_uni_pannuke{name}.py')
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    assert [loader.dataset.folds for loader in loaders] == [[fold] for fold in folds]
    assert cfg.train_dataloader.batch_size == 8
    sampler = cfg.train_dataloader.sampler
    assert (sampler.type, sampler.strategy, sampler.gamma) == (
        'CellWeightedSampler', 'cell+tissue', 0.85)
    assert sum(sampler.images_per_tissue.values()) == 7901
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (100, 1)
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=3e-4, betas=(0.85, 0.95), weight_decay=1e-4)
    assert cfg.param_scheduler == [
        dict(type='ExponentialLR', gamma=0.95, by_epoch=True)]
    assert not {'Resize', 'RandomCrop'} & {step.type for step in cfg.train_pipeline}


def test_pannuke_is_augmented_as_conic():
    steps = {
        name: Config.fromfile(ROOT / f'configs/cellvta_uni_{name}.py').train_pipeline
        for name in ('conic', 'pannuke')
    }
    first = [step.type for step in steps['conic']].index('CellRandomRotate90')
    assert steps['pannuke'][3:] == steps['conic'][first:]


@pytest.mark.parametrize('name', ['', '_released'])
def test_pannuke_weighs_the_loss_of_its_19_tissues_by_a_tenth(name):
    cfg = Config.fromfile(ROOT / f'configs/cellvta_uni_pannuke{name}.py')
    cfg.model.decode_head.update(in_channels=[3, 32, 32, 32, 32], channels=4)
    cfg.model.backbone.encoder.update(TINY)
    model = MODELS.build(cfg.model).eval()
    inputs = torch.rand(2, 3, 64, 64)
    samples = [square_sample(tissue=name) for name in ('Bile-duct', 'Uterus')]
    with torch.no_grad():
        logits = model(inputs, mode='tensor')['tissue']
        losses = model(inputs, samples, mode='loss')
    assert logits.shape == (2, 19)
    torch.testing.assert_close(
        losses['decode.loss_tissue_ce'],
        0.1 * torch.nn.functional.cross_entropy(logits, torch.tensor([1, 18])))


def test_model_index_names_the_configs():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    named = {model['Config'] for model in index['Models']}
    assert named == {str(path.relative_to(ROOT)) for path in LEAVES}
    assert all(Path(model['Config']).stem == model['Name'] for model in index['Models'])
