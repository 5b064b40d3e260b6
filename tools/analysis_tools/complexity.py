# Copyright (c) CellVTA-MMSeg contributors.
"""Prints the cost of models: parameters, multiply-adds, time and memory.

Models are built from random weights, nothing is downloaded. Parameters and
multiply-adds are counted without allocating anything; with --device meta nothing else
is done, and the largest model needs no memory. Multiply-adds, time and memory of a
forward are those of the form for inference (`switch_to_deploy`), without
post-processing; parameters and training steps those of the normal form.

Example:
    python tools/analysis_tools/complexity.py configs/cellvta_uni_conic.py \\
        configs/cellvta_tiny_consep.py --size 256 512 --device cuda --batch 8
"""
import argparse
import json
import math
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from pathlib import Path

HEAD = ('config', 'image', 'batch', 'parameters (M)', 'trained (M)', 'GMACs',
        'forward (ms)', 'images/s', 'training step (ms)', 'peak memory (MiB)',
        'in training (MiB)')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='paths of config files')
    parser.add_argument('--size', type=int, nargs='+', default=[256],
                        help='sides of square images, px (default: 256)')
    parser.add_argument('--batch', type=int, default=1,
                        help='images at a time (default: %(default)s)')
    parser.add_argument('--device', choices=['meta', 'cpu', 'cuda', 'mps', 'npu'],
                        help='meta: only count (default: the one MMEngine would take)')
    parser.add_argument('--repeats', type=int, default=5,
                        help='timed runs (default: %(default)s)')
    parser.add_argument('--out', type=Path, metavar='FILE.json',
                        help='also write the figures as JSON')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='settings of all configs to replace')
    args = parser.parse_args()
    for config in args.configs:
        if not Path(config).is_file():
            parser.error(f'{config}: no such config file')
    return args


def measure(config: str, size: int, args: argparse.Namespace) -> dict:
    """Returns the figures of a config at a size; time and memory only if it runs."""
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.configuration.configs import load_config
    from mmseg_cellvta.utils.complexity import measure_complexity, measure_timing

    shape = size, size
    cfg = load_config(config, args.cfg_options)
    row = asdict(measure_complexity(cfg.model, shape, args.batch))
    if args.device != 'meta':
        # A process for each: memory that was freed would hide memory that is taken.
        with get_context('spawn').Pool(1) as pool:
            row |= asdict(pool.apply(measure_timing, (
                config, args.cfg_options, shape, args.batch, args.device,
                args.repeats)))
    # JSON knows no NaN, which is the memory of a device that does not tell.
    return {name: None if math.isnan(figure) else figure
            for name, figure in row.items()}


def cells(row: dict) -> list[str]:
    """Returns the figures of a row as text, in the units of the head."""
    texts = [f'{row["params"] / 1e6:.3f}', f'{row["trainable_params"] / 1e6:.3f}',
             f'{row["macs"] / 1e9:.2f}']
    if 'forward_s' not in row:
        return texts + ['–'] * 5
    return texts + [
        f'{1000 * row["forward_s"]:.1f}', f'{row["batch"] / row["forward_s"]:.2f}',
        f'{1000 * row["train_step_s"]:.1f}',
        *('–' if row[name] is None else f'{row[name]:.0f}'
          for name in ('forward_mib', 'train_mib'))]


def main() -> None:
    args = parse_args()
    from mmengine.device import get_device

    from mmseg_cellvta.evaluation.fold_table import markdown_row
    from mmseg_cellvta.utils.files import complete_file

    if args.device is None:
        args.device = get_device()
    rows = []
    print(markdown_row(HEAD))
    print('|---|---|' + '---:|' * (len(HEAD) - 2))
    for path, size in product(args.configs, args.size):
        try:
            figures = measure(path, size, args)
        except (ValueError, OSError) as error:
            raise SystemExit(f'error: {error}') from error
        row = dict(config=Path(path).stem, size=size, batch=args.batch,
                   device=args.device) | figures
        rows.append(row)
        head = [row['config'], f'{size} x {size}', str(args.batch)]
        print(markdown_row(head + cells(row)), flush=True)
    if args.out is not None:
        with complete_file(args.out) as part:
            part.write_text(json.dumps(rows, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
