# Copyright (c) CellVTA-MMSeg contributors.
"""Checks a machine in at most five minutes: versions, equality, time and memory.

Compares mmcv's compiled op with its form in torch, measures forward passes and training
steps of the full-size network from random weights, in float32 and in half precision,
and looks for the cells of a slide. Nothing is downloaded. What does not work here says
so in its row. Ends with 0, with 1 if a result is wrong, with 2 if an argument is.

Example:
    python tools/analysis_tools/check_gpu.py --slide slide.svs --out gpu.json
"""
import argparse
import json
import math
import sys
import time
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FULL, TINY = 'cellvta_uni_conic.py', 'cellvta_tiny_synthetic.py'
QUICK = dict(batch_size=2, side=64, repeats=1, compiled=False)
SPARE_S = 10  # of the time that was given, for the start and the end
# Figures of a case that are in its table: title and number of digits.
COLUMNS = dict(
    torch_ms=('torch form (ms)', 2), compiled_ms=('compiled op (ms)', 2),
    images_per_s=('images/s', 1), ms=('ms', 1), peak_mib=('peak memory (MiB)', 0),
    first_s=('first time (s)', 1), mm2=('mm²', 2), s_per_mm2=('s/mm²', 1),
    idle_share=('network idle', 2), cells=('cells', 0), apart=('apart', 6),
    bar=('at most', 4), loss=('loss', 3), loss_scale=('loss scale', 0))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--slide', help='a slide; of a large one 1 mm² is looked at')
    parser.add_argument('--out', type=Path, metavar='FILE.json',
                        help='also write everything as JSON')
    parser.add_argument('--device', choices=['cpu', 'cuda', 'mps', 'npu'],
                        help='(default: the one MMEngine would take)')
    parser.add_argument('--config', help=f'another model than that of {FULL}')
    parser.add_argument('--quick', action='store_true',
                        help=f'a small batch of {TINY}, nothing compiled: seconds')
    parser.add_argument('--minutes', type=float, default=5.0,
                        help='rows that take longer are left out (default: 5)')
    args = parser.parse_args()
    if args.config is None:
        args.config = str(CONFIGS / (TINY if args.quick else FULL))
    for path in filter(None, (args.config, args.slide)):
        if not Path(path).is_file():
            parser.error(f'{path}: no such file')
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out {args.out}: there is no folder {args.out.parent}')
    return args


def choose_device(wanted: str | None) -> str:
    """Returns the device; ends the program when there is none of the kind."""
    from mmengine.device import get_device

    from mmseg_cellvta.utils.devices import check_device

    try:
        check_device(wanted or 'cpu')
    except ValueError as error:
        print(f'error: {error}; see nvidia-smi, and what torch is built for',
              file=sys.stderr)
        sys.exit(2)
    return wanted or get_device()


def case_table(part: str, rows: list[dict]):
    """Returns a table of the cases of a part, with the columns that have figures."""
    from rich.table import Table

    shown = [name for name in COLUMNS if any(name in row['figures'] for row in rows)]
    table = Table('case', title=part, title_justify='left')
    for name in shown:
        table.add_column(COLUMNS[name][0], justify='right')
    table.add_column('remark', style='yellow', overflow='fold')
    for row in rows:
        texts = [f'{row["figures"][name]:.{COLUMNS[name][1]}f}'
                 if name in row['figures'] else '–' for name in shown]
        table.add_row(row['case'], *texts, ('WRONG: ' if row['broken'] else '')
                      + row['remark'].replace('[', r'\['))
    return table


def machine_table(machine: dict[str, str]):
    from rich.table import Table

    table = Table('what', 'found', title='machine', title_justify='left')
    for name, found in machine.items():
        table.add_row(name, found)
    return table


def write_json(path: Path | None, report: dict) -> None:
    """Writes what is known so far: a run that is ended leaves what it has found."""
    from mmseg_cellvta.utils.files import complete_file

    if path is not None:
        with complete_file(path) as part:
            part.write_text(
                json.dumps(plain(report), indent=2) + '\n', encoding='utf-8')


def plain(value):
    """Returns a copy with None for numbers that are not finite: JSON has none."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summarize(rows: list[dict], seconds: float) -> int:
    """Prints the last line; returns the exit code."""
    broken = [f'{row["part"]}, {row["case"]}' for row in rows if row['broken']]
    empty = sum(not row['figures'] for row in rows)
    print(f'WRONG: {"; ".join(broken)}' if broken else 'nothing found wrong',
          f'({len(rows)} rows, {empty} without figures, {seconds:.0f} s)')
    return 1 if broken else 0


def main() -> int:
    start = time.monotonic()
    args = parse_args()
    device = choose_device(args.device)
    # After the arguments: --help must not wait for torch.
    from itertools import groupby

    from rich.console import Console

    from mmseg_cellvta.utils.cases import run_cases
    from mmseg_cellvta.utils.gpu_check import Setup, all_cases
    from mmseg_cellvta.utils.machine import describe_machine
    from mmseg_cellvta.utils.time_limit import Deadline

    console = Console()
    console.width = max(console.width, 120)  # into a file it would be 80
    deadline = Deadline(60 * args.minutes - SPARE_S - (time.monotonic() - start))
    setup = Setup(args.config, device, slide=args.slide, **QUICK if args.quick else {})
    report = dict(machine=describe_machine(), config=args.config, device=device,
                  batch_size=setup.batch_size, size=setup.size, cases=[])
    console.print(machine_table(report['machine']))
    results = run_cases(all_cases(setup), deadline)
    for part, group in groupby(results, key=lambda result: result[0].part):
        rows = []
        for case, result in group:
            rows.append(dict(part=part, case=case.name, figures=result.figures,
                             remark=result.remark, broken=result.broken))
            write_json(args.out, report | dict(cases=report['cases'] + rows))
        report['cases'] += rows
        console.print(case_table(part, rows))
    return summarize(report['cases'], time.monotonic() - start)


if __name__ == '__main__':
    sys.exit(main())
