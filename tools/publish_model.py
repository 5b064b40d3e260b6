# Copyright (c) CellVTA-MMSeg contributors.
"""Write a model as one folder, to be shared, archived and cited.

The folder holds the config, the weights without optimiser and frozen encoder, classes,
colours, µm/px, checksums, and a model card that asks for what it cannot know.
tools/infer.py, tools/test.py and load_from take it in place of a checkpoint.

Example:
    python tools/publish_model.py CONFIG CHECKPOINT nuclei-colon --scores metrics.json
"""
import argparse
import json
import sys
from pathlib import Path

from launch import add_cfg_options, add_trust, check_file, read_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument('--scores', type=Path,
                        help='metrics.json, as tools/test.py --out writes it')
    parser.add_argument('--licence', help='of the weights, such as cc-by-4.0')
    parser.add_argument('--with-encoder', action='store_true',
                        help='put a frozen encoder into the folder too')
    parser.add_argument('--push', metavar='OWNER/NAME', help='upload it to the hub')
    parser.add_argument('--private', action='store_true',
                        help='a repository that --push makes is private')
    add_cfg_options(parser)
    add_trust(parser)
    args = parser.parse_args()
    check_file('config', args.config)
    check_file('checkpoint', args.checkpoint)
    return args


def read_scores(path: Path | None) -> dict[str, float]:
    """Reads metrics by name.

    Raises:
        ValueError: When the file holds something else.
    """
    if path is None:
        return {}
    try:
        scores = json.loads(path.read_text())
        return {str(name): float(value) for name, value in scores.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f'{path}: expected an object of numbers by metric, as '
                         f'tools/test.py --out writes it ({error})') from None


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    from mmseg_cellvta.publishing import publish_model, push_model

    try:
        folder = publish_model(
            cfg, args.checkpoint, args.out, read_scores(args.scores), args.licence,
            args.with_encoder, args.trust)
        print(f'{args.out}: complete README.md where it says so')
        if args.push:
            print(push_model(folder, args.push, args.private))
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
