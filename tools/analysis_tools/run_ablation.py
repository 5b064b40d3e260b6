# Copyright (c) CellVTA-MMSeg contributors.
"""Trains, tests and measures a list of configs one after the other; writes one table.

Stop it with Ctrl-C and start it again with the same command: what is finished is
skipped, a training continues from its last checkpoint, what failed is tried again, and
a changed entry runs in a new folder. docs/ablations.md describes the list.

Example:
    python tools/analysis_tools/run_ablation.py configs/ablation/consep_injection.yml \\
        work_dirs/injection --data-root data/CoNSeP/Train
"""
import argparse
import csv
import json
import math
import re
import signal
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1]
DEFAULTS = dict(seeds=[0], checkpoint='last', options={})
# MMEngine deletes before it saves: with one checkpoint, a training that is killed at
# that moment has none.
RESUMABLE = {'default_hooks.checkpoint.max_keep_ckpts': 2}
# Figure of a result and unit by which it is divided, by column of the table.
COLUMNS = {
    'bPQ': ('bPQ', 1), 'mPQ': ('mPQ', 1), 'F1_det': ('F1_det', 1),
    'parameters (M)': ('params', 1e6), 'trained (M)': ('trainable_params', 1e6),
    'GMACs': ('macs', 1e9), 'ms per image': ('forward_s', 1e-3),
    'training step (ms)': ('train_step_s', 1e-3),
    'peak memory of a step (MiB)': ('train_mib', 1), 'training (min)': ('train_s', 60)}
LEGEND = """
Mean ± standard deviation over the seeds (n - 1). Metrics: fractions. Costs: one image
of 256 x 256 px through the network alone. Training: wall time of all attempts.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('list', type=Path, help='YAML file with the entries')
    parser.add_argument('work_dir', type=Path,
                        help='folder for the runs, table.md and table.csv')
    parser.add_argument('--data-root', metavar='DIR',
                        help='folder of the data, instead of the one in the configs')
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none',
                        help='pytorch: train and test on several GPUs of this machine')
    parser.add_argument('--gpus', type=int, default=1,
                        help='GPUs of each run, with a launcher (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='settings of all configs to replace')
    args = parser.parse_args()
    if not args.list.is_file():
        parser.error(f'{args.list}: no such list of an ablation')
    return args


def read_list(path: Path) -> list[dict]:
    """Reads the entries of a list; what they leave out has the list's value."""
    import yaml
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ValueError(f'{path}: not YAML ({error})') from error
    entries = content.pop('entries', None) if isinstance(content, dict) else None
    if not isinstance(entries, list) or {*map(type, entries)} != {dict}:
        raise ValueError(f'{path}: expected a key `entries` with a list of mappings')
    names = [entry.get('name') for entry in entries]
    entries = [DEFAULTS | content | entry for entry in entries]
    for name, entry in zip(names, entries, strict=True):
        seeds, checkpoint = entry['seeds'], entry['checkpoint']
        unknown = {*content} - {'seeds', 'checkpoint'} | {*entry} - {
            'name', 'config', *DEFAULTS}
        for wrong, fault in (
                (unknown, f'unknown keys {sorted(unknown)}; known are name, config, '
                 'options, seeds, checkpoint; beside `entries` only the last two'),
                ('config' not in entry, 'has no `config`'),
                (not re.fullmatch(r'[\w.+-]+', str(name or '')), 'expected a `name` of '
                 'letters, digits and any of _ . + -; its folder has this name'),
                (names.count(name) > 1, 'two entries have this name'),
                (checkpoint not in ('last', 'best'),
                 f'checkpoint={checkpoint!r}; expected last or best'),
                (not isinstance(seeds, list) or {*map(type, seeds)} != {int}
                 or len({*seeds}) < len(seeds),
                 f'seeds={seeds!r}; expected different whole numbers, as [0, 1, 2]')):
            if wrong:
                raise ValueError(f'{path}: entry {name!r}: {fault}')
    return entries


def plan_runs(args: argparse.Namespace) -> list[tuple]:
    """Returns the entry, folder, config and checkpoint of the run of each seed."""
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.configuration import configs
    from mmseg_cellvta.utils.files import settings_digest
    runs = []
    for entry in read_list(args.list):
        name, checkpoint = entry['name'], entry['checkpoint']
        for seed in entry['seeds']:
            cfg = configs.load_config(args.list.parent / entry['config'], {
                **RESUMABLE, **entry['options'],
                **configs.parse_options(args.cfg_options), 'randomness.seed': seed})
            for part in configs.PARTS if args.data_root else ():
                for data in configs.inner_configs(cfg[f'{part}_dataloader'].dataset):
                    data.data_root = args.data_root
            # A changed entry must not find the results of the old one.
            digits = settings_digest([checkpoint, cfg.to_dict()], digits=8)
            folder = args.work_dir.resolve() / f'{name}-seed{seed}-{digits}'
            runs.append((name, folder, cfg, checkpoint))
    return runs


def call(log: Path, script: str, *options: str | Path, gpus: int = 0) -> None:
    """Runs a script of `tools/` and writes its output to a log, after the command.

    Raises:
        RuntimeError: When the script fails, with the last lines of the log.
    """
    launch = ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={gpus}']
    command = [sys.executable, *(launch if gpus else []), TOOLS / script, *options,
               *(['--launcher', 'pytorch'] if gpus else [])]
    with open(log, 'wb') as file:
        file.write(f'{time.time():.3f} {" ".join(map(str, command))}\n'.encode())
        file.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file,
                                   stderr=subprocess.STDOUT)
        try:
            process.wait()
        finally:  # Ctrl-C ends the script too
            process.terminate()
            process.wait()
    if process.returncode:
        lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
        last = '\n'.join([line for line in lines if line.strip()][-5:])
        raise RuntimeError(f'{log}: exit code {process.returncode}\n{last}')


def find_checkpoint(train: Path, which: str) -> Path | None:
    """Finds the newest 'best' checkpoint, or the 'last', which MMEngine resumes."""
    if which == 'best':
        saved = sorted(train.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    else:
        saved = [train / Path(named.read_text(encoding='utf-8').strip()).name
                 for named in train.glob('last_checkpoint')]
        saved = [path for path in saved if zipfile.is_zipfile(path)]  # not cut off
    return saved[-1] if saved else None


def run_one(folder: Path, checkpoint: str, gpus: int) -> dict:
    """Does what is still to do for a run; returns its result, also as result.json."""
    from mmseg_cellvta.evaluation.fold_table import read_metrics
    from mmseg_cellvta.utils.files import complete_file
    config, train, test, cost = (
        folder / name for name in ('config.py', 'train', 'test', 'cost.json'))
    if not (folder / 'trained').exists():  # even to resume at its end takes long
        log = folder / f'train_{len([*folder.glob("train_*.log")]) + 1}.log'
        resume = ['--resume'] if find_checkpoint(train, 'last') else []
        call(log, 'train.py', config, '--work-dir', train, *resume, gpus=gpus)
        (folder / 'trained').touch()
    weights = find_checkpoint(train, checkpoint)
    if weights is None:
        raise RuntimeError(f'{train}: the training has left no {checkpoint} checkpoint')
    call(folder / 'test.log', 'test.py', config, weights, '--work-dir', test,
         '--out', test, gpus=gpus)
    call(folder / 'cost.log', 'analysis_tools/complexity.py', config, '--out', cost)
    seconds = [log.stat().st_mtime - float(log.read_text().split()[0])
               for log in folder.glob('train_*.log')]
    result = dict(metrics=read_metrics(test / 'metrics.json'),
                  cost=json.loads(cost.read_text())[0], train_s=sum(seconds))
    with complete_file(folder / 'result.json') as part:
        part.write_text(json.dumps(result, indent=2) + '\n')
    return result


def write_tables(work_dir: Path, results: dict[str, dict[Path, dict]],
                 failures: str) -> str:
    """Writes a row per entry, rounded to table.md, with all digits to table.csv."""
    from mmseg_cellvta.evaluation.fold_table import markdown_row
    lines = [markdown_row(['entry', 'seeds', *COLUMNS]),
             '|---|' + '---:|' * (len(COLUMNS) + 1)]
    rows = [['entry', 'seeds done', 'seeds',
             *(name for column in COLUMNS for name in (column, f'{column} sd'))]]
    for entry, of_seeds in results.items():
        done = [result['metrics'] | result['cost'] | result
                for result in of_seeds.values() if result]
        texts = [entry, f'{len(done)}/{len(of_seeds)}']
        row = [entry, len(done), len(of_seeds)]
        for name, unit in COLUMNS.values():
            values = [figures.get(name, math.nan) / unit for figures in done]
            values = [value for value in values if not math.isnan(value)]
            mean = statistics.mean(values) if values else ''
            sd = statistics.stdev(values) if len(values) > 1 else ''
            row += [mean, sd]
            texts.append(' ± '.join(f'{x:.3f}' for x in (mean, sd) if x != '') or '–')
        lines.append(markdown_row(texts))
        rows.append(row)
    with open(work_dir / 'table.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows(rows)
    text = '\n'.join(lines) + f'\n{LEGEND}{failures}'
    (work_dir / 'table.md').write_text(text, encoding='utf-8')
    return text


def run_all(args: argparse.Namespace) -> int:
    """Does all runs and keeps the tables up to date; returns 1 when a run failed."""
    runs, results, failures = plan_runs(args), {}, ''
    for name, folder, *_ in runs:
        results.setdefault(name, {})[folder] = {}
    for name, folder, cfg, checkpoint in runs:
        folder.mkdir(parents=True, exist_ok=True)
        saved = folder / 'result.json'
        print(f'{folder.name}: ', end='', flush=True)
        try:
            if saved.is_file():
                result = json.loads(saved.read_text(encoding='utf-8'))
            else:
                cfg.dump(folder / 'config.py')
                gpus = args.gpus if args.launcher == 'pytorch' else 0
                result = run_one(folder, checkpoint, gpus)
            results[name][folder] = result
            print('finished')
        except RuntimeError as error:
            failures += f'\nFailed: {folder.name}\n\n```\n{error}\n```\n'
            print(f'failed\n{error}')
        table = write_tables(args.work_dir, results, failures)
    print(f'\n{table}')
    return int(bool(failures))


def main() -> int:
    args = parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        return run_all(args)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    except KeyboardInterrupt:
        print('\nstopped; the same command goes on from here')
        return 130


if __name__ == '__main__':
    sys.exit(main())
