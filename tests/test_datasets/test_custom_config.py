# Copyright (c) CellVTA-MMSeg contributors.
"""The configs for the user's own data, from converted files to batches and tests."""
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmseg.registry import DATASETS, MODELS
from own_data import write_image, write_labels
from rich.progress import Progress

from mmseg_cellvta.configuration.network_scale import announce_network_mpp
from mmseg_cellvta.conversion.custom import convert_custom
from mmseg_cellvta.conversion.writers import Tiling

CONFIGS = Path(__file__).parents[2] / 'configs'
SHAPES = [(300, 400), (100, 700), (90, 130)]  # (height, width) px


@pytest.fixture(params=['tiny', 'uni'])
def cfg(request, tmp_path):
    """A leaf config on images larger and smaller than a crop, at 0.4 µm/px."""
    for i, shape in enumerate(SHAPES):
        write_image(tmp_path / f'own/train/images/a{i}.png', shape)
        write_labels(tmp_path / f'own/train/labels/a{i}.npy', shape)
    with Progress(disable=True) as progress:
        convert_custom(tmp_path / 'own', tmp_path / 'out',
                       ['background', 'tumour', 'other'], 0.4, Tiling(), None, progress)
    cfg = Config.fromfile(CONFIGS / f'cellvta_{request.param}_custom.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.num_classes == cfg.num_classes
        loader.dataset.update(
            data_root=str(tmp_path / 'out'), ann_file='train.txt', num_classes=3)
    announce_network_mpp(cfg.mpp)  # as the model does that is built before the data
    return cfg


def scaled(shape, mpp):
    return tuple(round(length * 0.4 / mpp) for length in shape)


def test_images_smaller_than_a_crop_make_a_batch_with_others(cfg):
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    for _ in range(8):  # every random branch is met sooner or later
        batch = pseudo_collate([dataset[i] for i in range(3)])
        sizes = [image.shape[1:] for image in batch['inputs']]
        for shape, size in zip(SHAPES, sizes, strict=True):
            cut = sorted(min(length, 256) for length in scaled(shape, cfg.mpp))
            assert sorted(size) == cut
        data = preprocessor(batch, training=True)
        height, width = data['inputs'].shape[2:]
        assert height % 16 == width % 16 == 0 and max(height, width) == 256
        for sample, size in zip(data['data_samples'], sizes, strict=True):
            for name in ('gt_inst_map', 'gt_sem_seg', 'gt_hv_map'):
                field = sample.get(name).data
                assert field.shape[1:] == (height, width)
                assert (field[:, size[0]:] == 0).all()
                assert (field[:, :, size[1]:] == 0).all()
            inside = sample.gt_inst_map.data[0] > 0
            assert ((sample.gt_sem_seg.data[0] > 0) == inside).all()


def test_whole_images_are_tested_at_their_own_pixels(cfg):
    packed = DATASETS.build(cfg.test_dataloader.dataset)[0]
    sample = packed['data_samples']
    assert packed['inputs'].shape[1:] == scaled((300, 400), cfg.mpp)
    assert sample.gt_inst_map.shape == sample.ori_shape == (300, 400)
    assert sample.mpp == 0.4


@pytest.mark.parametrize('index', range(3))
def test_images_of_any_size_are_segmented_tile_by_tile(cfg, index):
    cfg.model.decode_head.update(in_channels=[3, 32, 32, 32, 32], channels=2,
                                 num_classes=3)
    cfg.model.backbone.encoder.update(
        name='vit_tiny_patch16_224', weights=None, embed_dim=32, depth=4, num_heads=2)
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    with torch.no_grad():
        sample, = model.test_step(pseudo_collate([dataset[index]]))
    assert sample.pred_inst_map.shape == SHAPES[index]


def test_flipped_views_of_test_time_augmentation(cfg):
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    packed = DATASETS.build(cfg.test_dataloader.dataset)[1]
    flips = [sample.get('flip_direction') for sample in packed['data_samples']]
    assert flips == [None, 'horizontal', 'vertical']
    torch.testing.assert_close(packed['inputs'][0].flip(2), packed['inputs'][1])


def test_image_without_resolution_needs_a_word_in_the_config(cfg):
    image = dict(img=np.zeros((64, 64, 3), np.uint8))
    cfg.test_pipeline[0].type = 'LoadImageFromNDArray'  # as inference_model does
    with pytest.raises(ValueError, match='set source_mpp'):
        Compose(cfg.test_pipeline)(dict(image))
    cfg.merge_from_dict({'test_pipeline.1.source_mpp': 0.5})
    packed = Compose(cfg.test_pipeline)(dict(image))
    assert packed['data_samples'].img_shape == (
        round(64 * 0.5 / cfg.mpp), round(64 * 0.5 / cfg.mpp))
