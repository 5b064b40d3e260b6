# Copyright (c) CellVTA-MMSeg contributors.
"""Train and test a list of configs one after the other, and write one table.

Stop it at any moment, by any means, and start it again with the same command: what is
finished is skipped, a training that was stopped continues from its last checkpoint, and
what failed is tried again. An entry whose settings have changed runs again, in a folder
of its own. docs/ablations.md says how a list is written.

Example:
    python tools/analysis_tools/run_ablation.py configs/ablation/consep_injection.yml \\
        work_dirs/injection --data-root data/CoNSeP/Train
"""
import argparse
import signal
import sys
from collections import Counter
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from mmseg_cellvta.analysis.ablation_list import AblationRun, read_ablation_list
from mmseg_cellvta.analysis.ablation_runner import AblationRunner, Launcher, RunFailed
from mmseg_cellvta.analysis.ablation_table import AblationTable
from mmseg_cellvta.analysis.child_process import folder_lock
from mmseg_cellvta.utils.files import complete_file

TOOLS = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('list', type=Path, help='YAML file with the entries')
    parser.add_argument('work_dir', type=Path,
                        help='folder for the runs, table.md and table.csv')
    parser.add_argument('--data-root', metavar='DIR',
                        help='folder of the data, instead of what the configs say')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'],
                        default='none', help='how training and test are started; srun '
                        'reads SLURM_PARTITION and its like from the environment')
    parser.add_argument('--gpus', type=int, default=1,
                        help='GPUs of each run, with a launcher (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help='settings of all configs to replace: key=value')
    return parser.parse_args()


def run_all(runs: list[AblationRun], runner: AblationRunner) -> AblationTable:
    """Do all runs, keeping the files of the table up to date."""
    table = AblationTable(dict(Counter(run.name for run in runs)))
    console = Console()
    columns = ('{task.description}', BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('runs', total=len(runs))
        for run in runs:
            progress.update(task, description=f'{run.name}, seed {run.seed}')
            result = runner.finished(run)
            state = 'was finished' if result else 'finished'
            try:
                table.add(result or runner.run(run))
            except RunFailed as error:
                table.add_failure(run.folder, str(error))
                state = f'failed\n{error}'
            console.print(f'{run.folder}: {state}', markup=False, highlight=False,
                          soft_wrap=True)
            write_table(table, runner.work_dir)
            progress.advance(task)
        progress.update(task, description='runs')
    return table


def write_table(table: AblationTable, work_dir: Path) -> None:
    for suffix, text in (('md', table.to_markdown()), ('csv', table.to_csv())):
        with complete_file(work_dir / f'table.{suffix}') as part:
            part.write_text(text, encoding='utf-8')


def main() -> int:
    args = parse_args()
    # So that the training of the moment is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    args.work_dir.mkdir(parents=True, exist_ok=True)
    try:
        runs = read_ablation_list(args.list, args.data_root, args.cfg_options)
        with folder_lock(args.work_dir) as lock:
            launcher = Launcher(args.launcher, args.gpus)
            table = run_all(
                runs, AblationRunner(args.work_dir.resolve(), TOOLS, launcher, lock))
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    except KeyboardInterrupt:
        print('stopped; the same command goes on from here')
        return 128 + signal.SIGINT
    print(table.to_markdown())
    return int(bool(table.failures))


if __name__ == '__main__':
    sys.exit(main())
