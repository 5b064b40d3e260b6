# Copyright (c) CellVTA-MMSeg contributors.
"""Health report of the train, val and test data that a config names.

Prints a table of what is wrong with images, labels and splits. Ends with 0 if nothing
is wrong, 1 if something is (lines below the rule are information), 2 if the config or a
file cannot be read.

Example:
    python tools/analysis_tools/check_dataset.py configs/cellvta_uni_conic.py
"""
import argparse
import json
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--out', type=Path, help='JSON file for all findings')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='settings of the config to replace')
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'{args.config}: no such config file')
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out {args.out}: there is no folder {args.out.parent}')
    return args


def inspect(args: argparse.Namespace):
    """Builds the data sets and checks every image; returns the `HealthReport`."""
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.configuration.configs import (
        PARTS,
        build_cell_dataset,
        load_config,
        part_config,
        unchecked_configs,
    )
    from mmseg_cellvta.conversion.health import inspect_parts

    cfg = load_config(args.config, args.cfg_options)
    configs, same = {}, {}
    for part in PARTS:
        dataset = part_config(cfg, part)
        if dataset is None:
            continue
        inner = unchecked_configs(dataset)
        # Where a config tests on its val data, that is no leak between the two.
        twin = next((other for other in configs if configs[other] == inner), None)
        if twin is None:
            configs[part] = inner
        else:
            same[part] = twin
    if not configs:
        raise ValueError(f'{args.config}: has no train_dataloader, val_dataloader or '
                         'test_dataloader with a dataset')
    parts = {part: [build_cell_dataset(config) for config in inner]
             for part, inner in configs.items()}
    report = inspect_parts(parts, partial(track, description='checking'))
    for part, twin in same.items():
        report.add(part, '', [('same_part', f'the same data as {twin}')])
    return report


def main() -> int:
    args = parse_args()
    try:
        report = inspect(args)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    Console().print(report.table())
    if args.out is not None:
        content = dict(config=args.config) | report.to_json()
        args.out.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
        print(f'all findings: {args.out}')
    return report.exit_code


if __name__ == '__main__':
    sys.exit(main())
