# Copyright (c) CellVTA-MMSeg contributors.
"""A real training of a tiny model on two images, without files."""
import torch
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from tiny_models import square_sample
from torch.utils.data import Dataset


@DATASETS.register_module()
class TwoImages(Dataset):
    """Two random images with one nucleus each, 0-255."""

    metainfo = dict(classes=('background', 'red', 'blue'),
                    palette=[[0, 0, 0], [255, 0, 0], [0, 0, 255]])

    def __len__(self):
        return 2

    def __getitem__(self, index):
        torch.manual_seed(index)
        image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
        return dict(inputs=image, data_samples=square_sample(str(index)))


def make_runner(work_dir, model, epochs=1, hooks=(), **kwargs) -> Runner:
    """Returns a runner of one step per epoch, or of `train_cfg`."""
    kwargs.setdefault('train_cfg', dict(by_epoch=True, max_epochs=epochs))
    return Runner(
        model, str(work_dir),
        train_dataloader=dict(
            dataset=TwoImages(), batch_size=2, num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate')),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=1e-2), clip_grad=dict(max_norm=5.0)),
        custom_hooks=list(hooks), default_scope='mmseg', log_level='ERROR',
        experiment_name=f'{work_dir.parent.name}-{work_dir.name}-{id(model)}',
        **kwargs)
