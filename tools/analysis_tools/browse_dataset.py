# Copyright (c) CellVTA-MMSeg contributors.
"""Draws samples as the pipeline of a config hands them to the network.

Writes a sheet for each sample: outlines of the nuclei, horizontal and vertical map, and
classes, after scaling, cropping and augmentation. The samples are spread evenly over
the data.

Example:
    python tools/analysis_tools/browse_dataset.py configs/cellvta_uni_conic.py \\
        --out seen
"""
import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR',
                        help='folder for the sheets')
    parser.add_argument('--num', type=int, default=8,
                        help='number of samples (default: %(default)s)')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train',
                        help='part of the data (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0,
                        help='the same seed gives the same augmentation (default: '
                        '%(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='settings of the config to replace')
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'{args.config}: no such config file')
    if args.num < 1:
        parser.error(f'--num {args.num}: expected at least 1')
    return args


def build_dataset(args: argparse.Namespace):
    """Builds the data set with its pipeline; labels are checked as they are loaded."""
    # After the arguments: --help must not wait for torch.
    from mmseg.registry import DATASETS

    from mmseg_cellvta.configuration.configs import (
        inner_configs,
        load_config,
        part_config,
    )
    from mmseg_cellvta.configuration.network_scale import (
        announce_network_mpp,
        network_mpp,
    )

    cfg = load_config(args.config, args.cfg_options)
    announce_network_mpp(network_mpp(cfg.get('model', {})))  # there is no model here
    config = part_config(cfg, args.split)
    if config is None:
        raise ValueError(
            f'{args.config}: has no {args.split}_dataloader with a dataset')
    for inner in inner_configs(config):
        inner['validate_labels'] = False
    return DATASETS.build(config)


def draw(sample: dict, classes: Sequence[str], palette: Sequence) -> np.ndarray:
    """Draws one sample of the pipeline.

    Args:
        sample: What the pipeline returned, packed by `PackCellInputs`.
        classes: Class names, background first.
        palette: (red, green, blue), 0-255, of each class.

    Returns:
        Sheet, uint8 (H, W, 3), RGB.
    """
    import cv2

    from mmseg_cellvta.datasets.transforms.hv_target import hv_target
    from mmseg_cellvta.visualization.drawing import draw_sample_sheet

    data_sample = sample['data_samples']
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
        # Test pipelines keep the labels at the size of the original image.
        image = cv2.resize(image, inst_map.shape[::-1], interpolation=cv2.INTER_AREA)
    if 'gt_hv_map' in data_sample:
        hv_map = data_sample.gt_hv_map.data.numpy()
    else:
        hv_map = hv_target(inst_map)
    return draw_sample_sheet(
        title, image, inst_map, class_map, hv_map, classes, palette)


def browse(args: argparse.Namespace) -> int:
    """Writes the sheets; returns how many."""
    import torch

    from mmseg_cellvta.utils.images import write_image

    dataset = build_dataset(args)
    classes, palette = dataset.metainfo['classes'], dataset.metainfo['palette']
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(args.seed)
    count = min(args.num, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    for index in track(indices.tolist(), 'drawing'):
        sample = dataset[index]
        sheet = draw(sample, classes, palette)
        name = sample['data_samples'].get('sample_name', 'sample')
        path = args.out / f'{args.split}_{index:05d}_{name}.png'
        write_image(path, sheet)
    return count


def main() -> None:
    args = parse_args()
    try:
        count = browse(args)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'{args.out}: {count} images')


if __name__ == '__main__':
    main()
