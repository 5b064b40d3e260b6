# Copyright (c) CellVTA-MMSeg contributors.
"""The data configs from files to collated batches."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from mmseg_cellvta.configuration.network_scale import announce_network_mpp

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'


@pytest.fixture
def data_of(conic_dir, make_consep):
    """Folder for each config; CoNSeP images are enlarged to hold a crop."""
    images = np.load(conic_dir / 'images.npy').repeat(8, 1).repeat(8, 2)
    labels = np.load(conic_dir / 'labels.npy').repeat(8, 1).repeat(8, 2)
    np.save(conic_dir / 'images.npy', images)
    np.save(conic_dir / 'labels.npy', labels)
    content = json.dumps(dict(n_patches=2, sources=dict(b_1=2)))
    (conic_dir / 'test_sources.json').write_text(content)
    rows = ''.join(f'patch_{index},Bile-duct\n' for index in range(8))
    for fold in (1, 2, 3):
        folder = conic_dir / 'pannuke' / f'fold{fold}'
        folder.mkdir(parents=True)
        np.save(folder / 'images.npy', images)
        np.save(folder / 'labels.npy', np.minimum(labels, [300, 5]))
        (folder / 'patch_info.csv').write_text('patch_info,tissue\n' + rows)
    return dict(conic=conic_dir, synthetic_conic=conic_dir, consep=make_consep([1, 2]),
                pannuke=conic_dir / 'pannuke')


# µm/px of the networks that the configs for these data have.
MPP = dict(conic=0.5 * 256 / 480, consep=0.44, synthetic_conic=0.5, pannuke=0.25)


def load(name, folder):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    announce_network_mpp(MPP[name])  # as the model does that is built before the data
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
        dataset = loader.dataset.get('dataset', loader.dataset)  # inside RepeatDataset
        dataset.data_root = str(folder)
        if name == 'consep':
            dataset.indices = [0, 1]
        elif name != 'pannuke':
            dataset.sources_file = 'test_sources.json'
        if 'val_share' in dataset:
            dataset.val_share = 0.34
    return cfg


@pytest.mark.parametrize(('name', 'side', 'length'), [
    ('conic', 256, 16), ('synthetic_conic', 128, 4), ('pannuke', 256, 8)])
def test_training_batch_has_targets_of_the_crop(name, side, length, data_of):
    cfg = load(name, data_of[name])
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == length
    for _ in range(8):  # every random branch is met sooner or later
        batch = pseudo_collate([dataset[0], dataset[3]])
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            assert image.shape == (3, side, side) and image.dtype == torch.uint8
            assert sample.gt_hv_map.shape == sample.gt_inst_map.shape == (side, side)
            inside = sample.gt_inst_map.data[0] > 0
            assert ((sample.gt_sem_seg.data[0] > 0) == inside).all()
            assert (sample.gt_hv_map.data[:, ~inside] == 0).all()


@pytest.mark.parametrize(('name', 'side', 'meta'), [
    ('conic', 480, ('b_1-0001', 0.5, 'Colon')),
    ('synthetic_conic', 256, ('b_1-0001', 0.5, 'Colon')),
    ('pannuke', 256, ('patch_1', 0.25, 'Bile-duct'))])
def test_labels_are_at_original_size_in_testing(name, side, meta, data_of):
    cfg = load(name, data_of[name])
    packed = DATASETS.build(cfg.test_dataloader.dataset)[1]
    sample = packed['data_samples']
    assert packed['inputs'].shape == (3, side, side)
    assert sample.gt_inst_map.shape == sample.ori_shape == (256, 256)
    assert sample.img_shape == (side, side)
    assert sample.gt_inst_map.data.max() == 300
    assert (sample.sample_name, sample.mpp, sample.tissue) == meta


@pytest.mark.parametrize('name', ['conic', 'synthetic_conic', 'consep', 'pannuke'])
def test_flips_of_test_time_augmentation_keep_labels_as_they_are(name, data_of):
    cfg = load(name, data_of[name])
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    packed = DATASETS.build(cfg.test_dataloader.dataset)[0]
    flips = [sample.get('flip_direction') for sample in packed['data_samples']]
    assert flips == [None, 'horizontal', 'vertical']
    first, *others = packed['data_samples']
    for other in others:
        assert (other.gt_inst_map.data == first.gt_inst_map.data).all()
    torch.testing.assert_close(packed['inputs'][0].flip(2), packed['inputs'][1])


@pytest.mark.parametrize('name', ['conic', 'synthetic_conic', 'consep', 'pannuke'])
def test_test_pipeline_takes_an_image_without_labels(name, data_of, tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), np.zeros((64, 64, 3), np.uint8))
    pipeline = load(name, data_of[name]).test_pipeline
    packed = Compose(pipeline)(dict(img_path=str(tmp_path / 'x.png')))
    assert packed['data_samples'].sample_name == 'x'
    pipeline[0]['type'] = 'LoadImageFromNDArray'  # as inference_model does
    packed = Compose(pipeline)(dict(img=np.zeros((64, 64, 3), np.uint8)))
    assert packed['data_samples'].ori_shape == (64, 64)


@pytest.mark.parametrize('name', ['synthetic_conic', 'pannuke'])
def test_training_loader_is_reproducible_across_workers(name, data_of):
    cfg = load(name, data_of[name])
    cfg.train_dataloader.update(num_workers=1, batch_size=2)
    batches = []
    for _ in range(2):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=3)
        batches.append(torch.stack(next(iter(loader))['inputs']))
    assert (batches[0] == batches[1]).all()


def test_consep_trains_on_22_and_tests_on_the_other_5():
    cfg = Config.fromfile(CONFIGS / 'consep.py')
    assert cfg.train_indices + cfg.test_indices == list(range(27))
    assert len(cfg.test_indices) == 5


def test_real_consep_crops_and_whole_images(shared_dir):
    announce_network_mpp(MPP['consep'])
    cfg = Config.fromfile(CONFIGS / 'consep.py')
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(shared_dir / 'data' / 'CoNSeP' / 'Train')
    packed = DATASETS.build(cfg.train_dataloader.dataset)[21]
    assert packed['inputs'].shape == (3, 256, 256)
    assert packed['data_samples'].sample_name == 'train_22'
    packed = DATASETS.build(cfg.test_dataloader.dataset)[0]
    assert packed['data_samples'].gt_inst_map.shape == (1000, 1000)
    assert 'gt_hv_map' not in packed['data_samples']
