# Copyright (c) CellVTA-MMSeg contributors.
"""Train a cell classifier on the nuclei that a frozen segmentor finds (CellViT++)."""
import argparse

from launch import add_shared_options, check_file, checked_checkpoints, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Writes <work dir>/with_classifier.pth, segmentor and classifier, which '
        'tools/test.py takes with the same config.')
    parser.add_argument('config', help='config of the classifier')
    parser.add_argument('segmentor', help='checkpoint of the segmentor')
    add_shared_options(parser)
    args = parser.parse_args()
    if args.launcher != 'none':
        parser.error('--launcher: a cell classifier is trained by one process')
    check_file('config', args.config)
    check_file('segmentor', args.segmentor)
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.engine.cell_classifier_training import train_cell_classifier

    with checked_checkpoints(args.trust):
        path = train_cell_classifier(cfg, args.segmentor, args.trust)
    print(f'{path}: segmentor and classifier')


if __name__ == '__main__':
    main()
