# Copyright (c) CellVTA-MMSeg contributors.
"""Writes ground truth and predictions of a config's test data for official scorers.

conic:    true.npy and pred.npy, (N, H, W, 2): instance ids and class ids.
          compute_stats.py --mode=seg_class --true=OUT/true.npy --pred=OUT/pred.npy
pannuke:  true.npy and pred.npy, (N, H, W, C): a channel of instance ids for each class
          and the background last; types.npy: tissue of each image.
          run.py --true_path=OUT/true --pred_path=OUT/pred --save_path=SCORES

Images come in the order of the data set. Predictions are the files that a test run
writes to DIR with --out DIR --cfg-options test_evaluator.label_maps=True.

Example:
    python tools/analysis_tools/export_arrays.py configs/cellvta_uni_conic.py arrays \\
        --predictions cells
"""
import argparse
import os
from pathlib import Path

from rich.progress import track


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('out', type=Path, help='folder to make; it must not exist')
    parser.add_argument('--predictions', type=Path, metavar='DIR',
                        help='folder with <sample_name>.npy, (H, W, 2), of a test run')
    parser.add_argument('--format', choices=['conic', 'pannuke'], default='conic',
                        help='layout, by its official scorer (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='settings of the config to replace')
    args = parser.parse_args()
    if os.path.lexists(args.out):
        parser.error(f'{args.out}: exists already; delete it or choose another folder')
    if args.predictions is not None and not args.predictions.is_dir():
        parser.error(f'--predictions {args.predictions}: no such folder')
    return args


def list_entries(args: argparse.Namespace) -> list[dict]:
    """Returns the entries of the test data, in order; their names must differ."""
    from mmseg_cellvta.configuration.configs import (
        build_cell_dataset,
        load_config,
        part_config,
        unchecked_configs,
    )
    from mmseg_cellvta.utils.names import check_image_names
    dataset = part_config(load_config(args.config, args.cfg_options), 'test')
    if dataset is None:
        raise ValueError(f'{args.config}: has no test_dataloader with a dataset')
    entries = []
    for config in unchecked_configs(dataset):
        built = build_cell_dataset(config)
        entries += [built.get_data_info(index) for index in range(len(built))]
    if not entries:
        raise ValueError(f'{args.config}: no image in the test data')
    for entry in entries:
        if entry.get('label_path') is None:
            raise ValueError(f'{entry["img_path"]}: has no labels to export')
    check_image_names([entry['sample_name'] for entry in entries], args.config)
    return entries


def export(args: argparse.Namespace) -> int:
    """Writes the arrays and returns the number of images in them."""
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.datasets.transforms import LoadCellAnnotations
    from mmseg_cellvta.evaluation.exchange import export_arrays, read_label_map
    entries = list_entries(args)
    num_classes = entries[0]['num_classes']
    load = LoadCellAnnotations()

    def read_truth(index):
        loaded = load.transform(dict(entries[index]))
        return loaded['gt_inst_map'], loaded['gt_seg_map']

    def read_prediction(index):
        name = entries[index]['sample_name']
        return read_label_map(args.predictions / f'{name}.npy', num_classes)

    sources = dict(true=read_truth)
    if args.predictions is not None:
        sources['pred'] = read_prediction
    settings = dict(
        config=str(Path(args.config).resolve()), options=str(args.cfg_options),
        format=args.format,
        predictions=args.predictions and str(args.predictions.resolve()))
    export_arrays(
        args.out, args.format, [entry['sample_name'] for entry in entries], sources,
        num_classes, [entry['tissue'] for entry in entries], settings, track)
    return len(entries)


def main() -> None:
    args = parse_args()
    try:
        count = export(args)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'{args.out}: {count} images as {args.format} arrays')


if __name__ == '__main__':
    main()
