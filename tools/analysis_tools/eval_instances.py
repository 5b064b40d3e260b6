# Copyright (c) CellVTA-MMSeg contributors.
"""Scores the nuclei that any tool has found.

Both arrays are (N, H, W, 2) in the layout of CoNIC's labels: [..., 0] instance ids,
0 background; [..., 1] class ids, 0 background. The metrics are those of
CellInstanceMetric, fractions 0-1.

Example:
    python tools/analysis_tools/eval_instances.py labels.npy pred.npy --num-classes 7
"""
import argparse
import sys
from pathlib import Path

from rich.progress import track


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gt', type=Path, help='ground truth, .npy (N, H, W, 2)')
    parser.add_argument('pred', type=Path, help='prediction, .npy (N, H, W, 2)')
    parser.add_argument('--num-classes', type=int, required=True,
                        help='number of classes, background included')
    parser.add_argument('--tissue', type=Path,
                        help='JSON list of the N tissue names')
    parser.add_argument('--radius-px', type=float, default=6.0,
                        help='largest centroid distance of a detection; 6 px is 3 µm '
                        'at 20x as in CoNIC, take 12 at 40x (default: %(default)s)')
    parser.add_argument('--out', type=Path, help='JSON file for the metrics')
    args = parser.parse_args()
    if args.num_classes < 2:
        parser.error(f'--num-classes {args.num_classes}: expected 2 or more, '
                     'background included')
    if args.radius_px <= 0:
        parser.error(f'--radius-px {args.radius_px}: expected more than 0')
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out {args.out}: there is no folder {args.out.parent}')
    for path in filter(None, (args.gt, args.pred, args.tissue)):
        if not path.is_file():
            parser.error(f'{path}: no such file')
    return args


def load_tissues(path: Path | None, num_images: int) -> list[str | None]:
    """Reads one name per image; without a file, None for each."""
    if path is None:
        return [None] * num_images
    from mmseg_cellvta.utils.files import read_json
    from mmseg_cellvta.utils.names import check_tissues
    tissues = read_json(path)
    if not isinstance(tissues, list) or len(tissues) != num_images:
        found = f'{len(tissues)} entries' if isinstance(tissues, list) else 'no list'
        raise ValueError(f'{path}: {found}, expected a list of {num_images} tissue '
                         'names, one per image')
    for index, name in enumerate(tissues):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'{path}: entry {index} is {name!r}; expected the name of '
                             'a tissue')
    check_tissues(dict.fromkeys(tissues), str(path))
    return tissues


def score_arrays(args: argparse.Namespace) -> list:
    """Returns an `ImageScore` per image; tells which instances have several classes."""
    from mmseg_cellvta.evaluation.exchange import LabelArray
    from mmseg_cellvta.evaluation.functional import score_image
    true = LabelArray(args.gt, args.num_classes)
    pred = LabelArray(args.pred, args.num_classes)
    if true.shape != pred.shape:
        raise ValueError(f'{pred.path}: shape {pred.shape} does not match {true.path}: '
                         f'shape {true.shape}')
    tissues = load_tissues(args.tissue, len(true))
    scores = []
    for index in track(range(len(true)), 'scoring'):
        true_map, true_classes = true[index]
        pred_map, pred_classes = pred[index]
        scores.append(score_image(
            true_map, pred_map, true_classes, pred_classes, args.num_classes,
            args.radius_px, tissues[index]))
    for labels in (true, pred):
        if labels.mixed:
            image, instance = labels.mixed[0]
            print(f'{labels.path}: {len(labels.mixed)} instances hold more than one '
                  f'class (first: image {image}, id {instance}); each counts as the '
                  'class of most of its pixels', file=sys.stderr)
    return scores


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.evaluation.functional import (
        format_table,
        summarize,
        summarize_tissues,
        write_metrics,
    )
    class_names = [f'class_{index}' for index in range(1, args.num_classes)]
    try:
        scores = score_arrays(args)
        metrics = summarize(scores, class_names)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    print(format_table(metrics, class_names))
    print(f'\ndetection radius {args.radius_px:g} px')
    for name, value in metrics.items():
        print(f'{name:<16} {value:.4f}')
    if args.out is not None:
        write_metrics(args.out, metrics | summarize_tissues(scores))


if __name__ == '__main__':
    main()
