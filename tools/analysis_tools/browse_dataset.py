# Copyright (c) CellVTA-MMSeg contributors.
"""Draw samples as the pipeline of a config hands them to the network.

Writes a picture for each sample: outlines of the nuclei, horizontal and vertical map,
and classes, after scaling, cropping and augmentation. The samples are spread evenly
over the data.

Example:
    python tools/analysis_tools/browse_dataset.py configs/cellvta_uni_conic.py \\
        --out seen
"""
import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import DictAction
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from rich.progress import track

from mmseg_cellvta.datasets.transforms.hv_target import hv_target
from mmseg_cellvta.utils.configs import PARTS, inner_configs, load_config, part_config
from mmseg_cellvta.visualization.drawing import draw_sample_sheet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR',
                        help='folder for the pictures')
    parser.add_argument('--num', type=int, default=8,
                        help='number of samples (default: %(default)s)')
    parser.add_argument('--split', choices=PARTS, default='train',
                        help='which data (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0,
                        help='the same seed augments alike (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help='settings of the config to replace: key=value')
    args = parser.parse_args()
    if args.num < 1:
        parser.error(f'--num {args.num}: expected at least 1')
    return args


def build_dataset(args: argparse.Namespace):
    """The data set with its pipeline; labels are checked as they are loaded."""
    config = part_config(load_config(args.config, args.cfg_options), args.split)
    if config is None:
        raise ValueError(
            f'{args.config}: has no {args.split}_dataloader with a dataset')
    for inner in inner_configs(config):
        inner['validate_labels'] = False
    return DATASETS.build(config)


def draw(sample: dict, classes: Sequence[str], palette: Sequence) -> np.ndarray:
    """RGB picture of one sample of the pipeline."""
    data_sample: SegDataSample = sample['data_samples']
    name = data_sample.get('sample_name', '')
    if 'gt_inst_map' not in data_sample:
        raise ValueError(f'{name}: the pipeline gives no instance map; it needs '
                         'LoadCellAnnotations and PackCellInputs')
    image = np.ascontiguousarray(sample['inputs'].numpy().transpose(1, 2, 0)[..., ::-1])
    inst_map = data_sample.gt_inst_map.data[0].numpy()
    class_map = data_sample.gt_sem_seg.data[0].numpy()
    title = ', '.join(filter(None, (
        name, data_sample.get('tissue'),
        f'{image.shape[1]} x {image.shape[0]} px in the network')))
    if image.shape[:2] != inst_map.shape:
        # Test pipelines keep the labels at the size of the original picture.
        image = cv2.resize(image, inst_map.shape[::-1], interpolation=cv2.INTER_AREA)
    if 'gt_hv_map' in data_sample:
        hv_map = data_sample.gt_hv_map.data.numpy()
    else:
        hv_map = hv_target(inst_map)
    return draw_sample_sheet(
        title, image, inst_map, class_map, hv_map, classes, palette)


def browse(args: argparse.Namespace) -> int:
    """Write the pictures; returns how many."""
    dataset = build_dataset(args)
    classes, palette = dataset.metainfo['classes'], dataset.metainfo['palette']
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(args.seed)
    count = min(args.num, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    for index in track(indices.tolist(), 'drawing'):
        sample = dataset[index]
        picture = draw(sample, classes, palette)
        name = sample['data_samples'].get('sample_name', 'sample')
        path = args.out / f'{args.split}_{index:05d}_{name}.png'
        if not cv2.imwrite(str(path), picture[..., ::-1]):
            raise OSError(f'{path}: cannot be written; is there room on the disk?')
    return count


def main() -> None:
    args = parse_args()
    try:
        count = browse(args)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'{args.out}: {count} pictures')


if __name__ == '__main__':
    main()
